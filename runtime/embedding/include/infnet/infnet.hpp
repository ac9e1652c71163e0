/// \file infnet.hpp
/// Find and measure COVID-19 lung infection in chest CT, from C++17 over the embedded Python runtime.
///
///     infnet::Interpreter python;                       // once, before everything else
///     infnet::Model model;                              // any number of threads may use it at once
///     std::vector<std::uint8_t> mask(size);
///     auto grid = infnet::Grid::from_spacing({slices, rows, columns}, {1.0, 0.7, 0.7}, "SPL");
///     auto result = model.predict({hu.data(), grid.shape}, grid, infnet::Mask{mask.data(), grid.shape});
///     if (result.both.infection_ml.value) show(*result.both.infection_ml.value);
///
/// Every function takes Python's lock (the GIL) itself and may be called from any thread, with the lock or without;
/// while the runtime computes, and while a callback runs, the lock is free. Nothing is printed, no signal handler is
/// set, and no memory of the host is copied as a whole or kept after the call. Errors are exceptions, see infnet::Error.
///
/// Header only, over pybind11's headers. Research software, not a medical device.
#pragma once

#include <pybind11/embed.h>

#include <array>
#include <condition_variable>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

// pybind11's classes are local to a library; that classes and lambdas here have them as members is harmless.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wattributes"
#endif

namespace infnet {

// ---------------------------------------------------------------------------------------------------- errors

/// Something the host can act on. what() says what was found, what was expected and what to do.
class Error : public std::runtime_error {
 public:
  Error(const std::string& message, int code) : std::runtime_error(message), code_(code) {}

  /// Stable number of docs/errors.md; 0 for what only this header knows (Unexpected, NotRunning).
  int code() const noexcept { return code_; }

 private:
  int code_;
};

/// 3xxx: the volume, the grid or an option is refused.
class InputError : public Error {
  using Error::Error;
};

/// The geometry is missing, damaged or contradicts itself.
class GeometryError : public InputError {
  using InputError::InputError;
};

/// 4xxx: the model is missing, damaged or foreign.
class ModelError : public Error {
  using Error::Error;
};

/// 5xxx: the backend or device asked for is not there.
class BackendError : public Error {
  using Error::Error;
};

/// 7xxx: a check on the results failed.
class GateError : public Error {
  using Error::Error;
};

/// 8xxx: a file cannot be written.
class OutputError : public Error {
  using Error::Error;
};

/// 9001: the host cancelled.
class Cancelled : public Error {
  using Error::Error;
};

/// An exception of Python's that is none of infnet's: a bug, or no memory. what() is the traceback.
class Unexpected : public Error {
  using Error::Error;
};

/// No Interpreter runs: not started yet, ended already, or Python cannot be started.
class NotRunning : public Error {
  using Error::Error;
};

// ------------------------------------------------------------------------------------------- plain descriptions

/// Voxels along each axis of a buffer.
using Shape = std::array<std::size_t, 3>;
/// Bytes from a voxel to the next along each axis; may be negative.
using Strides = std::array<std::ptrdiff_t, 3>;

/// Type of stored values, in the byte order of this machine.
enum class Type { int8, uint8, int16, uint16, int32, float32, float64 };

/// What a voxel value means.
enum class Intensity { hu, windowed };

/// Strides of a buffer without gaps whose last axis runs fastest.
inline Strides c_order(const Shape& shape, std::size_t bytes_per_voxel) {
  const auto size = static_cast<std::ptrdiff_t>(bytes_per_voxel);
  const auto rows = static_cast<std::ptrdiff_t>(shape[1]), columns = static_cast<std::ptrdiff_t>(shape[2]);
  return {rows * columns * size, columns * size, size};
}

namespace detail {

/// Bytes of a value, and its letter in Python's struct module.
struct Layout {
  std::size_t bytes;
  const char* format;
  const char* name;
};

inline Layout layout(Type type) {
  switch (type) {
    case Type::int8: return {1, "b", "int8"};
    case Type::uint8: return {1, "B", "uint8"};
    case Type::int16: return {2, "h", "int16"};
    case Type::uint16: return {2, "H", "uint16"};
    case Type::int32: return {4, "i", "int32"};
    case Type::float32: return {4, "f", "float32"};
    case Type::float64: return {8, "d", "float64"};
  }
  return {0, "", ""};  // no such type
}

template <class Value>
constexpr Type type_of() {
  using Plain = std::remove_cv_t<Value>;
  if constexpr (std::is_same_v<Plain, float>) {
    return Type::float32;
  } else if constexpr (std::is_same_v<Plain, double>) {
    return Type::float64;
  } else {
    constexpr bool has_sign = std::is_signed_v<Plain>;
    static_assert(std::is_integral_v<Plain> && !std::is_same_v<Plain, bool> &&
                      (sizeof(Plain) <= 2 || (sizeof(Plain) == 4 && has_sign)),
                  "voxels are int8, uint8, int16, uint16, int32, float or double");
    if constexpr (sizeof(Plain) == 1) {
      return has_sign ? Type::int8 : Type::uint8;
    } else if constexpr (sizeof(Plain) == 2) {
      return has_sign ? Type::int16 : Type::uint16;
    } else {
      return Type::int32;
    }
  }
}

}  // namespace detail

/// Voxels in the host's memory. They are read where they are; the host keeps them alive and unchanged during a call,
/// and for a stream until it has finished.
struct Volume {
  const void* data;
  Type type;
  Shape shape;
  Strides strides;  ///< bytes

  Volume(const void* data, Type type, const Shape& shape, const Strides& strides)
      : data(data), type(type), shape(shape), strides(strides) {}
  Volume(const void* data, Type type, const Shape& shape)
      : Volume(data, type, shape, c_order(shape, detail::layout(type).bytes)) {}
  template <class Value, class = std::enable_if_t<std::is_arithmetic_v<Value>>>
  Volume(const Value* data, const Shape& shape) : Volume(data, detail::type_of<Value>(), shape) {}
  template <class Value, class = std::enable_if_t<std::is_arithmetic_v<Value>>>
  Volume(const Value* data, const Shape& shape, const Strides& strides)
      : Volume(data, detail::type_of<Value>(), shape, strides) {}
};

/// Memory of the host that is written to, one value a voxel. After an error or a cancel its content is undefined.
template <class Value>
struct Target {
  Value* data;
  Shape shape;
  Strides strides;  ///< bytes

  Target(Value* data, const Shape& shape, const Strides& strides) : data(data), shape(shape), strides(strides) {}
  Target(Value* data, const Shape& shape) : Target(data, shape, c_order(shape, sizeof(Value))) {}
};

/// A mask, lung labels or a class map: one byte a voxel.
using Mask = Target<std::uint8_t>;
/// Probabilities: IEEE half precision, two bytes a voxel.
using HalfMap = Target<std::uint16_t>;

/// One plane of a stream in the host's memory: the two axes of the grid that are not the stream's, in their order.
struct Plane {
  const void* data;
  Type type;
  std::array<std::size_t, 2> shape;
  std::array<std::ptrdiff_t, 2> strides;  ///< bytes

  template <class Value, class = std::enable_if_t<std::is_arithmetic_v<Value>>>
  Plane(const Value* data, const std::array<std::size_t, 2>& shape, const std::array<std::ptrdiff_t, 2>& strides)
      : data(data), type(detail::type_of<Value>()), shape(shape), strides(strides) {}
  template <class Value, class = std::enable_if_t<std::is_arithmetic_v<Value>>>
  Plane(const Value* data, const std::array<std::size_t, 2>& shape)
      : Plane(data, shape, {static_cast<std::ptrdiff_t>(shape[1] * sizeof(Value)),
                            static_cast<std::ptrdiff_t>(sizeof(Value))}) {}
};

/// Where the voxels of a buffer lie in the patient. Axes are those of the buffer, the first one first. It is checked
/// when it is used (GeometryError).
class Grid {
 public:
  Shape shape;

  /// \param affine rows of the matrix from voxel index to NIfTI world coordinates in mm (x to the patient's right, y to
  ///        the front, z to the head), 4 x 4.
  static Grid from_affine(const Shape& shape, const std::array<double, 16>& affine) {
    Grid grid(shape);
    grid.affine_ = affine;
    return grid;
  }

  /// \param spacing_mm between voxel centres along each axis.
  /// \param orientation where each axis points to; "SPL" is slices to the head, rows to the back, columns to the left.
  /// \param origin_mm place of the first voxel's centre along each axis, growing where the axis points to.
  static Grid from_spacing(const Shape& shape, const std::array<double, 3>& spacing_mm,
                           std::string orientation = "SPL", const std::array<double, 3>& origin_mm = {}) {
    Grid grid(shape);
    grid.spacing_mm_ = spacing_mm;
    grid.orientation_ = std::move(orientation);
    grid.origin_mm_ = origin_mm;
    return grid;
  }

  /// infnet_runtime.scan.grid.Grid; for a caller that holds the GIL.
  pybind11::object to_python() const {
    namespace py = pybind11;
    const auto kind = py::module_::import("infnet_runtime.scan.grid").attr("Grid");
    const auto axes = py::make_tuple(shape[0], shape[1], shape[2]);
    if (affine_) {
      py::list numbers;
      for (const double number : *affine_) numbers.append(number);
      return kind(axes, py::module_::import("numpy").attr("array")(numbers).attr("reshape")(4, 4));
    }
    return kind.attr("from_spacing")(
        axes, py::make_tuple(spacing_mm_[0], spacing_mm_[1], spacing_mm_[2]), orientation_,
        py::make_tuple(origin_mm_[0], origin_mm_[1], origin_mm_[2]));
  }

 private:
  explicit Grid(const Shape& shape) : shape(shape) {}

  std::optional<std::array<double, 16>> affine_;
  std::array<double, 3> spacing_mm_{}, origin_mm_{};
  std::string orientation_;
};

// --------------------------------------------------------------------------------------------------- results

/// A number, or why there is none: no_voxel_size, no_lung, side_unknown, outside_the_picture, no_infection.
struct Number {
  std::optional<double> value;
  std::string reason;  ///< empty where there is a value
};

/// Infection of both lungs or of one; ml and % of that lung.
struct Burden {
  Number lung_ml, infection_ml, infection_percent;
};

/// Kinds of the infection of both lungs or of one; ml and % of its infection.
struct ClassBurden {
  Number ggo_ml, consolidation_ml, ggo_percent_of_infection, consolidation_percent_of_infection;
};

/// Ground glass and consolidation.
struct Classes {
  ClassBurden both, right, left;
};

/// What a reader must know before trusting a number; docs/flags.md explains each name.
struct Flag {
  std::string name;
  std::string text;
  bool warns;  ///< the numbers may be wrong by more than the model's own error
};

/// Numbers of one volume; it owns all it says, and refers to no buffer.
struct Result {
  Burden both, right, left;  ///< the patient's sides
  std::size_t slices = 0, slices_with_lung = 0, slices_with_infection = 0;
  Number infection_outside_lungs_ml, flat_marks_ml;  ///< neither is part of the mask
  std::vector<Flag> flags;
  std::optional<Classes> classes;         ///< where the model was loaded with them
  std::map<std::string, double> seconds;  ///< wall time of each stage
  std::string json;                       ///< all of it, as in the report of infnet-infer, on one line
};

// ------------------------------------------------------------------------------------------- the interpreter

/// How Python is started. Without CMake's definitions both are empty, and Python looks for itself as usual.
struct InterpreterOptions {
#ifdef INFNET_PYTHON_EXECUTABLE
  /// The python of the environment (venv) that infnet is installed in.
  std::filesystem::path python = INFNET_PYTHON_EXECUTABLE;
#else
  std::filesystem::path python;
#endif
#ifdef INFNET_PACKAGES
  /// Folders that are searched for packages first, such as one that `pip install --target` filled.
  std::vector<std::filesystem::path> packages{INFNET_PACKAGES};
#else
  std::vector<std::filesystem::path> packages;
#endif
};

namespace detail {

namespace py = pybind11;

class Held;

/// The one interpreter of this process: whether it runs, who uses it, and which objects of Python are held.
/// It is never destroyed, so that objects with static lifetime may end after it.
class Runtime {
 public:
  static Runtime& get() {
    static auto* const one = new Runtime;
    return *one;
  }

  /// Start Python, or join the one that runs. Blocks while another thread starts it.
  void open(const InterpreterOptions& options) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return state_ != State::starting && state_ != State::closing; });
    if (state_ == State::closed) {
      if (!failure_.empty()) throw NotRunning("Python cannot be started: " + failure_, 0);
      throw NotRunning("Python was ended in this process, and NumPy cannot be loaded a second time; keep one "
                       "infnet::Interpreter for as long as the program runs", 0);
    }
    if (state_ == State::running) {
      ++users_;
      return;
    }
    is_joined_ = Py_IsInitialized() != 0;
    state_ = is_joined_ ? State::running : State::starting;
    users_ = 1;
    if (is_joined_) return;
    lock.unlock();
    python_ = std::thread([this, options] { live(options); });
    lock.lock();
    changed_.wait(lock, [this] { return state_ != State::starting; });
    if (state_ == State::running) return;
    lock.unlock();
    python_.join();
    throw NotRunning("Python cannot be started: " + failure_, 0);
  }

  /// One user less; after the last one all objects are dropped, and Python is ended if it was started here.
  void close() noexcept {
    std::unique_lock lock(mutex_);
    if (--users_ > 0 || depth() > 0) return;  // within a call of its own Python cannot be ended: it goes on
    state_ = State::closing;
    PyThreadState* const own = is_joined_ && Py_IsInitialized() && PyGILState_Check() ? PyEval_SaveThread() : nullptr;
    changed_.wait(lock, [this] { return calls_ == 0; });
    lock.unlock();
    if (own != nullptr) PyEval_RestoreThread(own);
    if (is_joined_) {
      if (Py_IsInitialized()) {
        const auto gil = PyGILState_Ensure();
        drop_all();
        PyGILState_Release(gil);
      }
      lock.lock();
      state_ = State::absent;
    } else {
      changed_.notify_all();
      python_.join();
    }
    changed_.notify_all();
  }

  /// Whether a call may begin; it is counted then, and the interpreter waits for it before it ends.
  bool enter() noexcept {
    const std::lock_guard lock(mutex_);
    if ((state_ != State::running && depth() == 0) || !Py_IsInitialized()) return false;
    ++calls_;
    ++depth();
    return true;
  }

  void leave() noexcept {
    const std::lock_guard lock(mutex_);
    --depth();
    if (--calls_ == 0) changed_.notify_all();
  }

 private:
  friend class Held;
  enum class State { absent, starting, running, closing, closed };

  /// Calls that this thread is in.
  static int& depth() noexcept {
    static thread_local int calls = 0;
    return calls;
  }

  /// Life of an interpreter that is started here: a thread of its own, so that the thread that Python takes for the
  /// main one is there at its end, whichever threads of the host come and go.
  void live(const InterpreterOptions& options) {
    try {
      start(options);
    } catch (const std::exception& error) {
      failure_ = error.what();
      set(State::closed);
      return;
    }
    PyThreadState* const own = PyEval_SaveThread();
    set(State::running);
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return state_ == State::closing && calls_ == 0; });
    }
    PyEval_RestoreThread(own);
    drop_all();
    py::finalize_interpreter();
    set(State::closed);
  }

  static void start(const InterpreterOptions& options) {
    PyPreConfig before;
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;  // whatever the host's locale is, which stays as it is
    check(Py_PreInitialize(&before));
    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);  // no variables of the environment, no signal handlers, no packages of the user
    if (!options.python.empty()) {
      const auto status = PyConfig_SetString(&config, &config.executable, options.python.wstring().c_str());
      if (PyStatus_Exception(status)) PyConfig_Clear(&config);
      check(status);
    }
    py::initialize_interpreter(&config, 0, nullptr, false);  // clears the config, also when it fails
    leave_interrupts_alone();
    keep_quiet();
  }

  /// The first import of `signal` takes over SIGINT where the host has not, whatever the config says.
  static void leave_interrupts_alone() {
    const bool is_default = PyOS_getsig(SIGINT) == SIG_DFL;
    const auto signal = py::module_::import("signal");
    if (is_default) signal.attr("signal")(signal.attr("SIGINT"), signal.attr("SIG_DFL"));
  }

  /// Without a handler Python writes warnings to stderr.
  static void keep_quiet() {
    const auto logging = py::module_::import("logging");
    logging.attr("getLogger")().attr("addHandler")(logging.attr("NullHandler")());
    logging.attr("captureWarnings")(true);
  }

  static void check(const PyStatus& status) {
    if (PyStatus_Exception(status)) throw std::runtime_error(status.err_msg ? status.err_msg : "no reason given");
  }

  void set(State state) {
    const std::lock_guard lock(mutex_);
    state_ = state;
    changed_.notify_all();
  }

  inline void drop_all() noexcept;

  std::mutex mutex_;  // never held while waiting for the GIL
  std::condition_variable changed_;
  State state_ = State::absent;
  bool is_joined_ = false;
  int users_ = 0;
  std::size_t calls_ = 0;
  std::thread python_;
  std::string failure_;
  std::unordered_set<Held*> held_;
};

/// A call into Python: counted, and with the GIL.
class Call {
 public:
  Call() {
    if (!Runtime::get().enter()) {
      throw NotRunning("no Python runs for infnet; keep an infnet::Interpreter alive around all other objects", 0);
    }
    gil_ = PyGILState_Ensure();
  }
  ~Call() {
    PyGILState_Release(gil_);
    Runtime::get().leave();
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

 private:
  PyGILState_STATE gil_;
};

/// The GIL is free in this block.
class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  ~WithoutGil() { PyEval_RestoreThread(state_); }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* state_;
};

/// A reference to an object of Python. It may outlive the interpreter, which drops what is still held.
class Held {
 public:
  /// For a caller that holds the GIL.
  explicit Held(py::object object) : object_(object.release().ptr()) {
    const std::lock_guard lock(Runtime::get().mutex_);
    Runtime::get().held_.insert(this);
  }
  ~Held() {
    auto& runtime = Runtime::get();
    const bool is_running = runtime.enter();
    PyObject* mine = nullptr;
    {
      const std::lock_guard lock(runtime.mutex_);
      runtime.held_.erase(this);
      if (is_running) mine = object_;
    }
    if (!is_running) return;
    if (mine != nullptr) {
      const auto gil = PyGILState_Ensure();
      Py_DECREF(mine);
      PyGILState_Release(gil);
    }
    runtime.leave();
  }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

  /// Within a Call.
  py::object get() const {
    if (object_ == nullptr) throw NotRunning("this object belongs to a Python that was ended", 0);
    return py::reinterpret_borrow<py::object>(object_);
  }

 private:
  friend class Runtime;
  PyObject* object_;
};

inline void Runtime::drop_all() noexcept {
  std::vector<PyObject*> objects;
  {
    const std::lock_guard lock(mutex_);
    for (Held* one : held_) objects.push_back(std::exchange(one->object_, nullptr));
    held_.clear();
  }
  for (PyObject* object : objects) Py_XDECREF(object);
}

/// Throw the C++ exception that an exception of Python corresponds to; its traceback, which can refer to the host's
/// buffers, is freed.
[[noreturn]] inline void rethrow(py::error_already_set& error) {
  const auto errors = py::module_::import("infnet_runtime.errors");
  if (!error.matches(errors.attr("InfnetError"))) throw Unexpected(error.what(), 0);
  const auto is = [&](const char* name) { return error.matches(errors.attr(name)); };
  const auto message = py::str(error.value()).cast<std::string>();
  const int code = error.value().attr("code").cast<int>();
  if (is("Cancelled")) throw Cancelled(message, code);
  if (is("GeometryError")) throw GeometryError(message, code);
  if (is("InputError")) throw InputError(message, code);
  if (is("ModelError")) throw ModelError(message, code);
  if (is("BackendError")) throw BackendError(message, code);
  if (is("GateError")) throw GateError(message, code);
  if (is("OutputError")) throw OutputError(message, code);
  throw Error(message, code);
}

/// Do something with Python from any thread.
template <class Work>
auto within_python(Work&& work) {
  const Call call;
  try {
    return work();
  } catch (py::error_already_set& error) {
    rethrow(error);
  } catch (const py::cast_error& error) {
    throw Unexpected(error.what(), 0);
  }
}

}  // namespace detail

/// Keeps Python running. The first one starts it, or joins one that the host runs already; others may be made at any
/// time. When the last one ends, calls in other threads are waited for, models are freed, and a Python that was started
/// here is ended for good: it cannot be started again. Objects that outlive it are harmless; their calls throw
/// NotRunning. A joined Python goes on running. Do not destroy the last one inside a callback: Python then stays.
class Interpreter {
 public:
  /// \throws NotRunning if Python cannot be started, was ended before, or does not find infnet.
  explicit Interpreter(const InterpreterOptions& options = InterpreterOptions()) {
    detail::Runtime::get().open(options);
    try {
      load_infnet(options);
    } catch (...) {
      detail::Runtime::get().close();
      throw;
    }
  }
  ~Interpreter() { detail::Runtime::get().close(); }
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  /// Version of the runtime, such as 0.2.0.
  std::string version() const {
    return detail::within_python(
        [] { return pybind11::module_::import("infnet_runtime").attr("__version__").cast<std::string>(); });
  }

 private:
  static void load_infnet(const InterpreterOptions& options) {
    namespace py = pybind11;
    detail::within_python([&] {
      const auto path = py::module_::import("sys").attr("path");
      for (auto folder = options.packages.rbegin(); folder != options.packages.rend(); ++folder) {
        const py::str name(folder->string());
        if (!path.contains(name)) path.attr("insert")(0, name);
      }
      try {
        py::module_::import("infnet_runtime");
      } catch (py::error_already_set& error) {
        throw NotRunning("Python " + py::module_::import("sys").attr("executable").cast<std::string>() +
                             " does not load infnet: " + error.what(), 0);
      }
    });
  }
};

// ------------------------------------------------------------------------------------------------- cancelling

/// Ends a run from another thread: cancel() lets it throw Cancelled within one batch of slices.
class Cancel {
 public:
  Cancel()
      : object_(detail::within_python([] {
          return std::make_unique<detail::Held>(pybind11::module_::import("infnet_runtime").attr("Cancel")());
        })) {}

  void cancel() const {
    detail::within_python([&] { to_python().attr("cancel")(); });
  }

  /// infnet_runtime.Cancel; for a caller that holds the GIL.
  pybind11::object to_python() const { return object_->get(); }

 private:
  std::unique_ptr<detail::Held> object_;
};

// ---------------------------------------------------------------------------------------------------- options

/// HU = slope * stored value + intercept.
struct Rescale {
  double slope, intercept;
};

/// Slices done and slices to do; it runs in the thread that called. What it throws ends the run and comes back as it
/// is.
using Progress = std::function<void(std::size_t done, std::size_t total)>;

/// What may be said of a volume beside its voxels and its grid.
struct Options {
  Intensity intensity = Intensity::hu;
  std::optional<Rescale> rescale;          ///< where the stored values are not HU themselves
  std::string name = "buffer";             ///< what messages and the report call the volume
  std::optional<Volume> lungs;             ///< labels, 1 the patient's right lung and 2 the left; found where absent
  std::optional<Mask> lungs_out;           ///< for the lungs
  std::optional<Mask> classes_out;         ///< for ground glass and consolidation
  std::optional<HalfMap> probability_out;  ///< for the probabilities
  std::optional<int> batch_size;           ///< slices handed over at a time; what suits the backend where absent
  bool fast = false;                       ///< interpolate between slices that lie close together (docs/fast.md)
  bool silence_slices = false;             ///< the model's slice gate (docs/slice-gate.md)
  bool keep_flat_marks = false;            ///< leave flat marks in (docs/quantification.md#flat-marks)
  bool flip_check = false;                 ///< look at the mirrored slices too (docs/quantification.md)
  Progress progress;
  const Cancel* cancel = nullptr;  ///< must outlive the call, or the stream
};

/// How a model is loaded; everything has the meaning it has in infnet_runtime.load.
struct LoadOptions {
  std::filesystem::path model;  ///< ONNX file or engine; the shipped model where empty
  std::string device = "auto";
  int threads = 0;  ///< CPU threads of every pool that is started; 0 takes what the process may use
  std::string backend = "auto";
  std::optional<int> batch_size;
  bool cache = true;
  std::string precision = "auto";
  bool classes = false;
  std::string lungs_by = "auto";  ///< network or threshold, used or refused
};

namespace detail {

/// Memory of the host as a memoryview, given back at the end: nobody reads it afterwards.
class Lent {
 public:
  template <class Lengths, class Steps>
  Lent(void* data, const Layout& layout, const Lengths& shape, const Steps& strides, const std::string& name,
       bool is_read_only) {
    if (layout.bytes == 0) throw InputError("[INF-3202] " + name + " has a type that there is not, see Type", 3202);
    if (data == nullptr) {
      throw InputError("[INF-3201] " + name + " is a null pointer, expected memory of the host; keep it until the "
                       "call has come back", 3201);
    }
    view_ = py::memoryview::from_buffer(data, static_cast<py::ssize_t>(layout.bytes), layout.format,
                                        std::vector<py::ssize_t>(shape.begin(), shape.end()),
                                        std::vector<py::ssize_t>(strides.begin(), strides.end()), is_read_only);
  }
  ~Lent() {
    if (view_) give_back(view_);
  }

  /// A view can no longer be read through, even by what still has it.
  static void give_back(const py::object& view) noexcept {
    try {
      view.attr("release")();
    } catch (const py::error_already_set&) {  // the traceback of an error still has it; it goes next
    }
  }
  Lent(Lent&& other) noexcept : view_(std::exchange(other.view_, py::object())) {}
  Lent(const Lent&) = delete;
  Lent& operator=(const Lent&) = delete;

  py::object array() const { return py::module_::import("numpy").attr("asarray")(view_); }
  py::object view() const { return view_; }

  /// Leave it to somebody who gives it back later.
  py::object leave() { return std::exchange(view_, py::object()); }

 private:
  py::object view_;
};

inline py::object path_of(const std::filesystem::path& path) {
#ifdef _WIN32
  return py::module_::import("pathlib").attr("Path")(path.wstring());
#else
  const auto& bytes = path.native();
  const auto text = py::reinterpret_steal<py::object>(
      PyUnicode_DecodeFSDefaultAndSize(bytes.c_str(), static_cast<Py_ssize_t>(bytes.size())));
  return py::module_::import("pathlib").attr("Path")(text);
#endif
}

inline Type type_named(const std::string& name) {
  for (int n = 0; n <= static_cast<int>(Type::float64); ++n) {
    if (name == layout(static_cast<Type>(n)).name) return static_cast<Type>(n);
  }
  throw InputError("[INF-3202] voxels of type " + name + " are not taken from memory, see Type", 3202);
}

inline Lent lend(const Volume& volume, const std::string& name) {
  // Python's interface has no const; the view is read-only.
  return {const_cast<void*>(volume.data), layout(volume.type), volume.shape, volume.strides, name, true};
}
inline Lent lend(const Plane& plane, const std::string& name) {
  return {const_cast<void*>(plane.data), layout(plane.type), plane.shape, plane.strides, name, true};
}
inline Lent lend(const Mask& mask, const std::string& name) {
  return {mask.data, layout(Type::uint8), mask.shape, mask.strides, name, false};
}
inline Lent lend(const HalfMap& map, const std::string& name) {
  return {map.data, {2, "e", "float16"}, map.shape, map.strides, name, false};
}

/// What a callback threw, on its way through Python.
struct Thrown {
  std::exception_ptr error;
};

inline py::object progress_of(const Progress& progress, const std::shared_ptr<Thrown>& thrown) {
  return py::cpp_function([progress, thrown](std::size_t done, std::size_t total) {
    try {
      const WithoutGil free;
      progress(done, total);
      return;
    } catch (...) {
      thrown->error = std::current_exception();
    }
    throw std::runtime_error("a callback of the host threw");
  });
}

/// Options as Python's keywords, and the memory that they lend.
struct Arguments {
  py::dict keywords;
  std::vector<Lent> lent;
  std::shared_ptr<Thrown> thrown = std::make_shared<Thrown>();

  Arguments(const Options& options, const std::optional<Mask>& out) {
    const auto scan = py::module_::import("infnet_runtime.scan.ct");
    keywords["intensity"] = scan.attr("Intensity")(options.intensity == Intensity::hu ? "hu" : "windowed");
    keywords["name"] = options.name;
    if (options.rescale) {
      keywords["rescale"] = py::make_tuple(options.rescale->slope, options.rescale->intercept);
    }
    if (options.lungs) {
      lent.push_back(lend(*options.lungs, "lungs"));
      keywords["lungs"] = lent.back().array();
    }
    const auto give = [&](const char* keyword, const auto& target) {
      if (!target) return;
      lent.push_back(lend(*target, keyword));
      keywords[keyword] = lent.back().view();
    };
    give("out", out);
    give("lungs_out", options.lungs_out);
    give("classes_out", options.classes_out);
    give("probability_out", options.probability_out);
    if (options.batch_size) keywords["batch_size"] = *options.batch_size;
    keywords["fast"] = options.fast;
    keywords["silence_slices"] = options.silence_slices;
    keywords["keep_flat_marks"] = options.keep_flat_marks;
    keywords["flip_check"] = options.flip_check;
    if (options.progress) keywords["progress"] = progress_of(options.progress, thrown);
    if (options.cancel != nullptr) keywords["cancel"] = options.cancel->to_python();
  }
};

/// Numbers of one region and why some are missing.
class Region {
 public:
  Region(const py::handle& quantification, const char* name)
      : burden_(quantification.attr(name)), reasons_(quantification.attr("reasons")), name_(name) {}

  Number operator[](const char* field) const {
    if (burden_.is_none()) return {std::nullopt, reason(name_)};
    const py::object value = burden_.attr(field);
    if (value.is_none()) return {std::nullopt, reason(name_ + "." + field)};
    return {value.cast<double>(), ""};
  }

 private:
  std::string reason(const std::string& of) const { return reasons_[py::str(of)].cast<std::string>(); }

  py::object burden_;
  py::dict reasons_;
  std::string name_;
};

inline Burden burden_of(const py::handle& quantification, const char* name) {
  const Region region(quantification, name);
  return {region["lung_ml"], region["infection_ml"], region["infection_percent"]};
}

inline ClassBurden classes_of(const py::handle& classes, const char* name) {
  const Region region(classes, name);
  return {region["ggo_ml"], region["consolidation_ml"], region["ggo_percent_of_infection"],
          region["consolidation_percent_of_infection"]};
}

inline Number number_of(const py::handle& quantification, const char* name) {
  const py::object value = quantification.attr(name);
  if (value.is_none()) return {std::nullopt, quantification.attr("reasons")[py::str(name)].cast<std::string>()};
  return {value.cast<double>(), ""};
}

inline Result result_of(const py::object& segmentation) {
  Result result;
  const py::object q = segmentation.attr("quantification");
  result.both = burden_of(q, "both");
  result.right = burden_of(q, "right");
  result.left = burden_of(q, "left");
  result.slices = q.attr("slices").cast<std::size_t>();
  result.slices_with_lung = q.attr("slices_with_lung").cast<std::size_t>();
  result.slices_with_infection = q.attr("slices_with_infection").cast<std::size_t>();
  result.infection_outside_lungs_ml = number_of(q, "infection_outside_lungs_ml");
  result.flat_marks_ml = number_of(q, "flat_marks_ml");
  for (const auto& name : q.attr("flags")) {
    result.flags.push_back({name.cast<std::string>(), q.attr("flag_texts")[name].cast<std::string>(),
                            q.attr("warnings").contains(name)});
  }
  if (const py::object classes = q.attr("classes"); !classes.is_none()) {
    result.classes = Classes{classes_of(classes, "both"), classes_of(classes, "right"), classes_of(classes, "left")};
  }
  for (const auto& [stage, seconds] : py::dict(segmentation.attr("provenance").attr("seconds"))) {
    result.seconds[stage.cast<std::string>()] = seconds.cast<double>();
  }
  const auto report = py::module_::import("infnet_runtime.report.text_and_json");
  result.json = report.attr("json_line")(report.attr("to_document")(segmentation, py::arg("outputs") = py::dict()))
                    .cast<std::string>();
  return result;
}

/// Call Python with a progress of the host's: what that threw goes before what Python makes of it.
template <class Work>
auto passing_on(const std::shared_ptr<Thrown>& thrown, Work&& work) {
  thrown->error = nullptr;
  try {
    auto result = work();
    if (thrown->error) std::rethrow_exception(thrown->error);
    return result;
  } catch (const py::error_already_set&) {
    if (thrown->error) std::rethrow_exception(thrown->error);
    throw;
  }
}

/// A segmenter, closed when its last user is gone: the model, or a stream of it.
class Segmenter {
 public:
  explicit Segmenter(py::object segmenter) : held_(std::move(segmenter)) {}
  ~Segmenter() {
    try {
      within_python([&] { held_.get().attr("close")(); });
    } catch (const Error&) {  // Python was ended before, and the model with it
    }
  }
  Segmenter(const Segmenter&) = delete;
  Segmenter& operator=(const Segmenter&) = delete;

  py::object get() const { return held_.get(); }

 private:
  Held held_;
};

}  // namespace detail

// ------------------------------------------------------------------------------------------------------ models

/// A scan that is still coming, made by Model::stream; it keeps its model alive. Planes are numbered from 0 along the
/// axis of the grid that is nearest to the axis of the body, and may be pushed from any threads, in any order, each
/// once. The result is that of the whole volume, to the bit. Memory that is lent to it (voxels, out and the other
/// outputs, lungs) has to live until it has finished or is closed.
class Stream {
 public:
  ~Stream() { close(); }
  Stream(Stream&&) = default;
  Stream& operator=(Stream&& other) noexcept {
    if (this != &other) {
      close();
      state_ = std::move(other.state_);
    }
    return *this;
  }

  /// How many planes the scan has.
  std::size_t planes() const {
    return detail::within_python([&] { return open().stream.get().attr("planes").template cast<std::size_t>(); });
  }

  /// Give a plane to a stream that keeps the volume; it is copied, and done with when the call comes back.
  /// \throws InputError if there is no such plane, it is there already, or it is refused; nothing is changed then.
  void push(std::size_t k, const Plane& plane) {
    detail::within_python([&] {
      const auto lent = detail::lend(plane, "plane " + std::to_string(k));
      open().stream.get().attr("push")(k, lent.view());
    });
  }

  /// Say that a plane is there, in the memory that the stream was opened on.
  void push(std::size_t k) {
    detail::within_python([&] { open().stream.get().attr("push")(k); });
  }

  /// Segment the scan, and close the stream. When it throws, it may be called again.
  /// \throws InputError if planes are missing, and as Model::predict.
  Result finish() {
    auto result = detail::within_python([&] {
      return detail::passing_on(open().thrown,
                                [&] { return detail::result_of(open().stream.get().attr("finish")()); });
    });
    close();
    return result;
  }

  /// Let go of all memory; a scan that is given up.
  void close() noexcept {
    if (!state_) return;
    try {
      detail::within_python([&] {
        state_->stream.get().attr("close")();
        for (const auto& view : state_->lent) detail::Lent::give_back(view->get());
      });
    } catch (const Error&) {  // Python was ended before, and the stream with it
    }
    state_.reset();
  }

 private:
  friend class Model;

  struct State {
    std::shared_ptr<detail::Segmenter> model;
    detail::Held stream;
    std::vector<std::unique_ptr<detail::Held>> lent;
    std::shared_ptr<detail::Thrown> thrown;

    State(std::shared_ptr<detail::Segmenter> model, pybind11::object stream)
        : model(std::move(model)), stream(std::move(stream)) {}
    void keep(detail::Lent& one) { lent.push_back(std::make_unique<detail::Held>(one.leave())); }
  };

  explicit Stream(std::unique_ptr<State> state) : state_(std::move(state)) {}

  State& open() const {
    if (!state_) throw InputError("[INF-3234] the stream has ended, expected an open one; open another", 3234);
    return *state_;
  }

  std::unique_ptr<State> state_;
};

/// A loaded model. Any number of threads may use one at once; several share nothing.
class Model {
 public:
  /// \throws ModelError if the file is missing, damaged or foreign. \throws BackendError if a device, backend or
  /// precision that was asked for is not there.
  explicit Model(const LoadOptions& options = LoadOptions()) {
    namespace py = pybind11;
    segmenter_ = detail::within_python([&] {
      py::dict keywords;
      keywords["device"] = options.device;
      keywords["threads"] = options.threads;
      keywords["backend"] = options.backend;
      if (options.batch_size) keywords["batch_size"] = *options.batch_size;
      keywords["cache"] = options.cache;
      keywords["precision"] = options.precision;
      keywords["classes"] = options.classes;
      keywords["lungs_by"] = options.lungs_by;
      const py::object path = options.model.empty() ? py::object(py::none()) : detail::path_of(options.model);
      return std::make_shared<detail::Segmenter>(py::module_::import("infnet_runtime").attr("load")(path, **keywords));
    });
  }

  /// Segment a volume where it lies; the mask is written straight into the host's memory.
  /// \throws InputError if buffer, values or lungs are refused, GeometryError for the grid. \throws GateError if the
  /// network returns anything but probabilities. \throws Cancelled. \throws what Options::progress throws.
  Result predict(const Volume& volume, const Grid& grid, const Mask& out, const Options& options = Options()) const {
    return run(volume, grid, out, options);
  }

  /// Numbers alone.
  Result predict(const Volume& volume, const Grid& grid, const Options& options = Options()) const {
    return run(volume, grid, std::nullopt, options);
  }

  /// Take a scan plane by plane; the stream keeps the volume, of this type.
  Stream stream(const Grid& grid, Type type, const std::optional<Mask>& out = std::nullopt,
                const Options& options = Options()) const {
    return open_stream(grid, out, options, [&](pybind11::dict& keywords) {
      keywords["dtype"] = detail::layout(type).name;
      return std::optional<detail::Lent>();
    });
  }

  /// Take a scan whose planes the host writes to its own volume, which is read where it is. A plane that was pushed
  /// stays as it is.
  Stream stream(const Volume& voxels, const Grid& grid, const std::optional<Mask>& out = std::nullopt,
                const Options& options = Options()) const {
    return open_stream(grid, out, options, [&](pybind11::dict& keywords) {
      auto lent = detail::lend(voxels, options.name);
      keywords["voxels"] = lent.view();
      return std::optional<detail::Lent>(std::move(lent));
    });
  }

 private:
  template <class Memory>
  Stream open_stream(const Grid& grid, const std::optional<Mask>& out, const Options& options, Memory&& memory) const {
    return detail::within_python([&] {
      detail::Arguments arguments(options, out);
      auto voxels = memory(arguments.keywords);
      auto state = std::make_unique<Stream::State>(
          segmenter_, segmenter_->get().attr("stream")(grid.to_python(), **arguments.keywords));
      state->thrown = arguments.thrown;
      for (auto& one : arguments.lent) state->keep(one);
      if (voxels) state->keep(*voxels);
      return Stream(std::move(state));
    });
  }

  Result run(const Volume& volume, const Grid& grid, const std::optional<Mask>& out, const Options& options) const {
    return detail::within_python([&] {
      const auto buffer = detail::lend(volume, options.name);
      detail::Arguments arguments(options, out);
      return detail::passing_on(arguments.thrown, [&] {
        return detail::result_of(
            segmenter_->get().attr("predict_buffer")(buffer.view(), grid.to_python(), **arguments.keywords));
      });
    });
  }

  std::shared_ptr<detail::Segmenter> segmenter_;
};

// ------------------------------------------------------------------------------------------------- scan files

/// A scan that the runtime's own reader takes (NIfTI), for tests and tools: a scanner has its volumes in memory.
class ScanFile {
 public:
  /// \throws InputError if there is no such file or it is refused.
  explicit ScanFile(const std::filesystem::path& path) {
    namespace py = pybind11;
    detail::within_python([&] {
      const py::object scan = py::module_::import("infnet_runtime.io").attr("open_scan")(detail::path_of(path));
      const py::object volume = scan.attr("volume"), voxels = volume.attr("voxels");
      for (std::size_t axis = 0; axis < 3; ++axis) {
        shape_[axis] = voxels.attr("shape")[py::int_(axis)].cast<std::size_t>();
      }
      const py::list numbers = volume.attr("affine").attr("ravel")().attr("tolist")();
      for (std::size_t n = 0; n < affine_.size(); ++n) affine_[n] = numbers[n].cast<double>();
      type_ = detail::type_named(voxels.attr("dtype").attr("name").cast<std::string>());
      intensity_ = py::str(volume.attr("intensity")).cast<std::string>() == "hu" ? Intensity::hu : Intensity::windowed;
      name_ = volume.attr("source").cast<std::string>();
      scan_ = std::make_unique<detail::Held>(scan);
    });
  }

  Shape shape() const { return shape_; }
  Grid grid() const { return Grid::from_affine(shape_, affine_); }
  Type type() const { return type_; }
  std::size_t bytes() const { return shape_[0] * shape_[1] * shape_[2] * detail::layout(type_).bytes; }
  Intensity intensity() const { return intensity_; }
  std::string name() const { return name_; }

  /// Strides of memory in the order of the file, whose first axis runs fastest.
  Strides strides(std::size_t bytes_per_voxel) const {
    const auto size = static_cast<std::ptrdiff_t>(bytes_per_voxel);
    const auto i = static_cast<std::ptrdiff_t>(shape_[0]), j = static_cast<std::ptrdiff_t>(shape_[1]);
    return {size, i * size, i * j * size};
  }

  /// Copy the voxels to memory of the host.
  /// \param strides bytes, along the axes of the file.
  void copy_to(void* data, const Strides& strides) const {
    detail::within_python([&] {
      const detail::Lent target(data, detail::layout(type_), shape_, strides, "the copy", false);
      pybind11::module_::import("numpy").attr("copyto")(target.array(), scan_->get().attr("volume").attr("voxels"));
    });
  }

  /// Write a mask in the geometry of the scan, as infnet-infer does.
  /// \throws OutputError if it cannot be written.
  void write_mask(const std::filesystem::path& path, const Mask& mask) const {
    detail::within_python([&] {
      const auto lent = detail::lend(mask, "the mask");
      scan_->get().attr("write_mask")(detail::path_of(path), lent.array());
    });
  }

 private:
  std::unique_ptr<detail::Held> scan_;
  Shape shape_{};
  std::array<double, 16> affine_{};
  Type type_{};
  Intensity intensity_{};
  std::string name_;
};

// --------------------------------------------------------------------------------------------------- messages

/// How much a message matters, as in Python's logging.
enum class Level { debug = 10, info = 20, warning = 30, error = 40 };

/// What the runtime says while it works; infnet_runtime's loggers, and warnings of Python's.
struct LogRecord {
  Level level;
  std::string logger, message;
};

/// Hands messages to the host for as long as it lives; without one they go nowhere. The sink is called from any thread,
/// one call at a time. What it throws is dropped: a message must not end a scan.
class Logging {
 public:
  using Sink = std::function<void(const LogRecord&)>;

  explicit Logging(Sink sink, Level least = Level::info) {
    namespace py = pybind11;
    detail::within_python([&] {
      const auto logging = py::module_::import("logging");
      const py::object handler = logging.attr("Handler")(static_cast<int>(least));
      handler.attr("emit") = py::cpp_function([sink = std::move(sink)](const py::object& record) {
        const int level = record.attr("levelno").cast<int>();
        const LogRecord said{static_cast<Level>(level >= 40 ? 40 : level / 10 * 10),
                             record.attr("name").cast<std::string>(),
                             record.attr("getMessage")().cast<std::string>()};
        try {
          const detail::WithoutGil free;
          sink(said);
        } catch (...) {  // dropped, as is said above
        }
      });
      const auto logger = logging.attr("getLogger")("infnet_runtime");
      level_before_ = logger.attr("level").cast<int>();
      if (logger.attr("getEffectiveLevel")().cast<int>() > static_cast<int>(least)) {
        logger.attr("setLevel")(static_cast<int>(least));
      }
      for (const char* name : loggers) logging.attr("getLogger")(name).attr("addHandler")(handler);
      handler_ = std::make_unique<detail::Held>(handler);
    });
  }
  ~Logging() {
    try {
      detail::within_python([&] {
        const auto logging = pybind11::module_::import("logging");
        for (const char* name : loggers) logging.attr("getLogger")(name).attr("removeHandler")(handler_->get());
        logging.attr("getLogger")("infnet_runtime").attr("setLevel")(level_before_);
      });
    } catch (const Error&) {  // Python was ended before, and its loggers with it
    }
  }
  Logging(const Logging&) = delete;
  Logging& operator=(const Logging&) = delete;

 private:
  static constexpr std::array<const char*, 2> loggers{"infnet_runtime", "py.warnings"};

  std::unique_ptr<detail::Held> handler_;
  int level_before_ = 0;
};

}  // namespace infnet

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
