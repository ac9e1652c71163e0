#pragma once

#include <stdexcept>
#include <string>

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void require(bool is_so, const std::string& what) {
  if (!is_so) throw Failure(what);
}
