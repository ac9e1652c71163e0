"""What a run can be told, filled from TOML.

Composed of the parts that ``data`` and ``networks`` declare beside what they tell; what ``run`` and ``semi``
are told is declared here, because they are above. A part of the loop takes its own part of the configuration,
never all of it; nothing is computed here.
"""
