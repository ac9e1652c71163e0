# infnet in C++: find_package(infnet) gives the target infnet::infnet.
#
#   find_package(infnet CONFIG REQUIRED)       # infnet_DIR is what `python -m infnet_runtime --cmake-dir` prints
#   target_link_libraries(scanner PRIVATE infnet::infnet)
#
# Variables that are read:
#   Python_EXECUTABLE        the Python that infnet is installed for; else that of the venv around these files, of
#                            the active venv, or the first that CMake finds
#   infnet_PYBIND11_INCLUDE  folder with pybind11/embed.h; else a target pybind11::headers of the project, or what
#                            that Python has installed (pip install 'infnet[embedding]')
#
# The program remembers that Python; infnet::InterpreterOptions says otherwise at run time.
cmake_minimum_required(VERSION 3.18)

function(_infnet_refuse why)
  set(infnet_FOUND FALSE PARENT_SCOPE)
  set(infnet_NOT_FOUND_MESSAGE "${why}" PARENT_SCOPE)
endfunction()

get_filename_component(_infnet_embedding "${CMAKE_CURRENT_LIST_DIR}/.." ABSOLUTE)
# The folder that Python imports infnet_runtime from: around it in a wheel, beside it in a checkout.
if(EXISTS "${_infnet_embedding}/../version.py")
  get_filename_component(_infnet_packages "${_infnet_embedding}/../.." ABSOLUTE)
else()
  get_filename_component(_infnet_packages "${_infnet_embedding}/.." ABSOLUTE)
endif()

if(NOT Python_EXECUTABLE AND NOT TARGET Python::Python)
  # site-packages lies in lib/pythonX.Y of a venv, on Windows in Lib.
  foreach(_infnet_up "../../.." "../..")
    get_filename_component(_infnet_venv "${_infnet_packages}/${_infnet_up}" ABSOLUTE)
    foreach(_infnet_name "bin/python" "Scripts/python.exe")
      if(NOT Python_EXECUTABLE AND EXISTS "${_infnet_venv}/pyvenv.cfg" AND EXISTS "${_infnet_venv}/${_infnet_name}")
        set(Python_EXECUTABLE "${_infnet_venv}/${_infnet_name}")
      endif()
    endforeach()
  endforeach()
  set(Python_FIND_VIRTUALENV FIRST)
endif()

find_package(Python 3.11 QUIET COMPONENTS Interpreter Development.Embed)
if(NOT TARGET Python::Python OR NOT Python_EXECUTABLE)
  _infnet_refuse("No Python 3.11 or newer with its headers and shared library was found (Python_EXECUTABLE is \
'${Python_EXECUTABLE}'); name one with -DPython_EXECUTABLE=. Debian has them in python3-dev, pyenv builds them with \
PYTHON_CONFIGURE_OPTS=--enable-shared.")
  return()
endif()

# As the program will start it: without PYTHONPATH and the user's packages, with the folder of infnet first.
execute_process(
  COMMAND "${Python_EXECUTABLE}" -I -c
          "import sys; sys.path.insert(0, sys.argv[1]); import infnet_runtime.segment.segmenter"
          "${_infnet_packages}"
  RESULT_VARIABLE _infnet_failed
  ERROR_VARIABLE _infnet_said
  OUTPUT_QUIET)
if(_infnet_failed)
  _infnet_refuse("${Python_EXECUTABLE} does not load infnet from ${_infnet_packages}; name the Python that it is \
installed for with -DPython_EXECUTABLE=. It said (${_infnet_failed}): ${_infnet_said}")
  return()
endif()

if(NOT infnet_PYBIND11_INCLUDE AND NOT TARGET pybind11::headers)
  execute_process(
    COMMAND "${Python_EXECUTABLE}" -I -c "import pybind11; print(pybind11.get_include())"
    OUTPUT_VARIABLE infnet_PYBIND11_INCLUDE
    OUTPUT_STRIP_TRAILING_WHITESPACE
    ERROR_QUIET)
  if(NOT infnet_PYBIND11_INCLUDE)
    _infnet_refuse("${Python_EXECUTABLE} has no pybind11: pip install 'infnet[embedding]', or name the folder with \
pybind11/embed.h with -Dinfnet_PYBIND11_INCLUDE=.")
    return()
  endif()
endif()

if(NOT TARGET infnet::infnet)
  add_library(infnet::infnet INTERFACE IMPORTED)
  target_include_directories(infnet::infnet INTERFACE "${_infnet_embedding}/include")
  target_compile_features(infnet::infnet INTERFACE cxx_std_17)
  target_compile_definitions(
    infnet::infnet INTERFACE "INFNET_PYTHON_EXECUTABLE=\"${Python_EXECUTABLE}\""
                             "INFNET_PACKAGES=\"${_infnet_packages}\"")
  find_package(Threads REQUIRED)
  target_link_libraries(infnet::infnet INTERFACE Python::Python Threads::Threads)
  if(infnet_PYBIND11_INCLUDE)
    target_include_directories(infnet::infnet SYSTEM INTERFACE "${infnet_PYBIND11_INCLUDE}")
  else()
    target_link_libraries(infnet::infnet INTERFACE pybind11::headers)
  endif()
endif()
