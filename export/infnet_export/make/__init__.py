"""One call of ``infnet-export``: what is wanted, what it starts from, and the files in place.

The steps themselves belong to the other folders.
"""
