// Beginnings and ends: an interpreter and what outlives it. Each case needs a process of its own.
#pragma once

#include <infnet/infnet.hpp>

#include "checks.hpp"

#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace lives {

inline std::filesystem::path model_file, volume_file;
inline std::string backend = "auto";

template <class Work>
void is_not_running(const std::string& words, Work&& work) {
  try {
    work();
  } catch (const infnet::NotRunning& error) {
    require(std::string(error.what()).find(words) != std::string::npos, error.what());
    return;
  }
  throw Failure("NotRunning was not thrown");
}

inline infnet::LoadOptions loading() {
  infnet::LoadOptions options;
  options.model = model_file;
  options.backend = backend;
  options.threads = 1;
  return options;
}

struct Memory {
  infnet::ScanFile file{volume_file};
  std::vector<char> bytes = std::vector<char>(file.bytes());
  infnet::Volume volume{bytes.data(), file.type(), file.shape(), file.strides(2)};
  Memory() { file.copy_to(bytes.data(), file.strides(2)); }
};

inline void before_the_interpreter() {
  is_not_running("keep an infnet::Interpreter alive", [] { const infnet::Model model; });
}

/// Objects outlive the interpreter; their calls are refused, their ends are quiet, and there is no second beginning.
inline void outlive() {
  auto python = std::make_unique<infnet::Interpreter>();
  const infnet::Model model(loading());
  const infnet::Cancel cancel;
  const infnet::Logging logging([](const infnet::LogRecord&) {});
  const Memory memory;
  const auto result = model.predict(memory.volume, memory.file.grid());
  python.reset();
  require(!result.json.empty(), "a result is the host's own");
  is_not_running("", [&] { model.predict(memory.volume, memory.file.grid()); });
  is_not_running("", [&] { cancel.cancel(); });
  is_not_running("cannot be loaded a second time", [] { const infnet::Interpreter again; });
}

/// Several parts of a host each keep one; the last one ends Python, on whichever thread that is.
inline void several() {
  auto first = std::make_unique<infnet::Interpreter>();
  std::unique_ptr<infnet::Interpreter> second;
  std::thread([&] { second = std::make_unique<infnet::Interpreter>(); }).join();
  first.reset();
  require(!second->version().empty(), "it was ended too early");
  std::thread([&] { second.reset(); }).join();
  is_not_running("", [] { const infnet::Model model; });
}

/// A call that runs while the interpreter ends is waited for.
inline void end_while_busy() {
  auto python = std::make_unique<infnet::Interpreter>();
  const auto model = std::make_unique<infnet::Model>(loading());
  const Memory memory;
  std::mutex mutex;
  std::condition_variable changed;
  bool is_running = false, is_done = false;
  infnet::Options options;
  options.progress = [&](std::size_t, std::size_t) {
    const std::lock_guard lock(mutex);
    is_running = true;
    changed.notify_all();
  };
  std::thread busy([&] {
    model->predict(memory.volume, memory.file.grid(), options);
    is_done = true;
  });
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return is_running; });
  }
  python.reset();
  busy.join();
  require(is_done, "the call did not come to its end");
}

/// A host with a Python of its own: it is joined, goes on, and keeps nothing.
inline void join() {
  PyConfig config;
  PyConfig_InitIsolatedConfig(&config);
  PyConfig_SetString(&config, &config.executable, std::filesystem::path(INFNET_PYTHON_EXECUTABLE).wstring().c_str());
  const pybind11::scoped_interpreter own(&config, 0, nullptr, false);
  pybind11::exec("import sys; mine = 5");
  for (int round = 0; round < 2; ++round) {  // with the GIL held, as hosts do, and more than once
    const infnet::Interpreter python;
    const infnet::Model model(loading());
    const Memory memory;
    require(model.predict(memory.volume, memory.file.grid()).slices > 0, "no slices");
    const pybind11::gil_scoped_release free;
    std::thread([&] { model.predict(memory.volume, memory.file.grid()); }).join();
  }
  require(pybind11::eval("mine").cast<int>() == 5, "the host's Python was ended");
}

/// What an object of static lifetime holds is dropped before.
inline void static_lifetime() {
  static std::unique_ptr<infnet::Model> kept;
  static infnet::Interpreter python;
  kept = std::make_unique<infnet::Model>(loading());
}

/// A host that never cleans up, as std::quick_exit and many do.
inline void never_ended() {
  new infnet::Interpreter;
  new infnet::Model(loading());
}

inline void within_a_callback() {
  auto python = std::make_unique<infnet::Interpreter>();
  const infnet::Model model(loading());
  const Memory memory;
  infnet::Options options;
  options.progress = [&](std::size_t, std::size_t) { python.reset(); };
  model.predict(memory.volume, memory.file.grid(), options);
  model.predict(memory.volume, memory.file.grid());  // it goes on
}

inline void wrong_place() {
  infnet::InterpreterOptions options;
  options.packages = {"/nowhere"};
  options.python = "/nowhere/bin/python";
  is_not_running("does not load infnet", [&] { const infnet::Interpreter python(options); });
}

/// What a sanitizer must see: these show that it is on.
inline void reads_freed_memory() {
  int* volatile memory = new int(5);  // volatile, or the compiler sees it first
  delete memory;
  ++*memory;
}

inline void races() {
  int shared = 0;
  std::thread other([&] { ++shared; });
  ++shared;
  other.join();
}

inline const std::map<std::string, std::function<void()>> faults{
    {"reads_freed_memory", reads_freed_memory},
    {"races", races},
};

inline const std::map<std::string, std::function<void()>> cases{
    {"before_the_interpreter", before_the_interpreter},
    {"outlive", outlive},
    {"several", several},
    {"end_while_busy", end_while_busy},
    {"join", join},
    {"static_lifetime", static_lifetime},
    {"never_ended", never_ended},
    {"within_a_callback", within_a_callback},
    {"wrong_place", wrong_place},
};

}  // namespace lives
