# The version is that of the Python package beside these files: in a wheel one folder up, in a checkout across.
foreach(_infnet_file "../../version.py" "../../infnet_runtime/version.py")
  if(EXISTS "${CMAKE_CURRENT_LIST_DIR}/${_infnet_file}")
    file(STRINGS "${CMAKE_CURRENT_LIST_DIR}/${_infnet_file}" _infnet_line REGEX "^__version__")
    string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" PACKAGE_VERSION "${_infnet_line}")
  endif()
endforeach()
if(PACKAGE_VERSION VERSION_EQUAL PACKAGE_FIND_VERSION)
  set(PACKAGE_VERSION_EXACT TRUE)
endif()
# Before 1.0 a new minor version may change the header.
string(REGEX MATCH "^[0-9]+\\.[0-9]+" _infnet_series "${PACKAGE_VERSION}")
string(REGEX MATCH "^[0-9]+(\\.[0-9]+)?" _infnet_wanted "${PACKAGE_FIND_VERSION}")
if(NOT PACKAGE_VERSION VERSION_LESS PACKAGE_FIND_VERSION
   AND (_infnet_series VERSION_EQUAL _infnet_wanted OR NOT PACKAGE_FIND_VERSION))
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
