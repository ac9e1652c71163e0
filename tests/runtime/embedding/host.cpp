// A host of infnet that does everything wrong that a host can do wrong, and asks for the right exception.
//
// host MODEL VOLUME FOLDER [BACKEND]        every case, one line each: "ok NAME" or "FAILED NAME: why"
// host --life CASE MODEL VOLUME [BACKEND]   one of lives.hpp
//
// With a backend it leaves out what only repeats itself: for sanitizers, where everything takes ten times as long.

#include <infnet/infnet.hpp>

#include <atomic>
#include <chrono>
#include <clocale>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iostream>
#include <limits>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "checks.hpp"
#include "lives.hpp"

namespace {

namespace fs = std::filesystem;

using Bytes = std::vector<std::uint8_t>;
using std::chrono::steady_clock;

/// The case throws just this class, with this code and these words.
template <class Kind, class Work>
void refuses(int code, const std::string& words, Work&& work) {
  try {
    work();
  } catch (const infnet::Error& error) {
    const std::string said = error.what();
    require(dynamic_cast<const Kind*>(&error) != nullptr, "another class threw: " + said);
    require(error.code() == code, "another code: " + said);
    require(said.find(words) != std::string::npos, "other words: " + said);
    return;
  }
  throw Failure("nothing was refused");
}

/// The volume of a file in the memory of this program, int16, and the mask that belongs to it.
struct Scan {
  infnet::ScanFile file;
  infnet::Shape shape;
  std::size_t size;
  std::vector<std::int16_t> hu;

  explicit Scan(const fs::path& path)
      : file(path), shape(file.shape()), size(shape[0] * shape[1] * shape[2]), hu(size) {
    require(file.type() == infnet::Type::int16, "the volume is not int16");
    file.copy_to(hu.data(), infnet::c_order(shape, 2));
  }

  infnet::Grid grid() const { return file.grid(); }
  infnet::Volume volume() const { return {hu.data(), shape}; }
};

infnet::Mask mask_in(Bytes& bytes, const Scan& scan) { return {bytes.data(), scan.shape}; }

struct World {
  const fs::path model_file, folder;
  const std::string backend;
  const bool is_short = backend != "auto";
  const infnet::Model model;
  const Scan scan;
  Bytes expected;  // of a first run

  World(const fs::path& model_file, const fs::path& volume, const fs::path& folder, const std::string& backend)
      : model_file(model_file), folder(folder), backend(backend), model(options(model_file)), scan(volume) {}

  infnet::LoadOptions options(const fs::path& file) const {
    infnet::LoadOptions loading;
    loading.model = file;
    loading.backend = backend;
    loading.device = "cpu";
    loading.threads = 1;
    loading.lungs_by = "threshold";
    return loading;
  }

  Bytes run(const infnet::Model& with, const infnet::Options& options = {}) const {
    Bytes mask(scan.size, 7);  // it need not be cleared
    with.predict(scan.volume(), scan.grid(), mask_in(mask, scan), options);
    return mask;
  }
  Bytes run(const infnet::Options& options = {}) const { return run(model, options); }
};

// -------------------------------------------------------------------------------------------------- what works

void numbers_and_mask(World& world) {
  world.expected.assign(world.scan.size, 7);
  const auto result =
      world.model.predict(world.scan.volume(), world.scan.grid(), mask_in(world.expected, world.scan));
  std::size_t marked = 0;
  for (const auto value : world.expected) {
    require(value <= 1, "the mask is not 0 or 1");
    marked += value;
  }
  require(marked > 0, "nothing is marked");
  require(result.both.infection_ml.value && result.both.infection_ml.reason.empty(), "no millilitres");
  require(*result.right.infection_ml.value + *result.left.infection_ml.value ==
              *result.both.infection_ml.value, "the sides are not the whole");
  require(result.slices == std::min({world.scan.shape[0], world.scan.shape[1], world.scan.shape[2]}), "slices");
  require(!result.flags.empty() && result.flags[0].name == "lung_mask_heuristic" && !result.flags[0].warns, "flags");
  require(result.flat_marks_ml.value && result.infection_outside_lungs_ml.value, "what is not in the mask");
  require(result.seconds.count("network") == 1, "seconds");
  require(!result.classes, "classes that nobody asked for");
  // For the comparison with Python's own call.
  std::ofstream(world.folder / "result.json") << result.json;
  std::ofstream mask(world.folder / "mask.bin", std::ios::binary);
  mask.write(reinterpret_cast<const char*>(world.expected.data()), static_cast<std::streamsize>(world.scan.size));
  std::ofstream(world.folder / "infection_ml.txt") << std::hexfloat << *result.both.infection_ml.value;
}

template <class Value>
void as_type(World& world) {
  const std::vector<Value> converted(world.scan.hu.begin(), world.scan.hu.end());
  Bytes mask(world.scan.size);
  world.model.predict({converted.data(), world.scan.shape}, world.scan.grid(), mask_in(mask, world.scan));
  require(mask == world.expected, "another mask");
}

/// Every second voxel of a larger buffer, with the last axis backwards, and the mask in the order of Fortran.
void any_strides(World& world) {
  const auto [i, j, k] = world.scan.shape;
  std::vector<std::int16_t> spread(2 * world.scan.size);
  for (std::size_t row = 0; row < i * j; ++row) {
    for (std::size_t n = 0; n < k; ++n) spread[2 * (row * k + k - 1 - n)] = world.scan.hu[row * k + n];
  }
  auto strides = infnet::c_order(world.scan.shape, 4);
  strides[2] = -4;
  Bytes mask(world.scan.size);
  world.model.predict({spread.data() + 2 * (k - 1), world.scan.shape, strides}, world.scan.grid(),
                      {mask.data(), world.scan.shape, world.scan.file.strides(1)});
  for (std::size_t a = 0; a < i; ++a) {
    for (std::size_t b = 0; b < j; ++b) {
      for (std::size_t c = 0; c < k; ++c) {
        require(mask[a + i * (b + j * c)] == world.expected[(a * j + b) * k + c], "another mask");
      }
    }
  }
}

void other_outputs(World& world) {
  Bytes mask(world.scan.size), lungs(world.scan.size, 9);
  std::vector<std::uint16_t> probability(world.scan.size, 9);
  infnet::Options options;
  options.lungs_out.emplace(lungs.data(), world.scan.shape);
  options.probability_out.emplace(probability.data(), world.scan.shape);
  world.model.predict(world.scan.volume(), world.scan.grid(), mask_in(mask, world.scan), options);
  require(mask == world.expected, "another mask");
  std::array<std::size_t, 3> labels{};
  for (const auto label : lungs) ++labels.at(label);
  require(labels[0] && labels[1] && labels[2], "lungs");
  for (std::size_t n = 0; n < world.scan.size; ++n) {  // 0x3800 is 0.5 in half precision
    require(!mask[n] || probability[n] >= 0x3800, "probabilities do not fit the mask");
  }
  options = {};
  options.lungs.emplace(lungs.data(), world.scan.shape);
  require(world.run(options) == world.expected, "given lungs are not used");
  const auto result = world.model.predict(world.scan.volume(), world.scan.grid(), options);
  for (const auto& flag : result.flags) require(flag.name != "lung_mask_heuristic", "the lungs are called found");
}

void missing_numbers_have_reasons(World& world) {
  const Bytes none(world.scan.size, 0);
  std::vector<std::int16_t> tissue(world.scan.size);
  for (std::size_t n = 0; n < tissue.size(); ++n) tissue[n] = n % 3 ? 40 : -1000;
  infnet::Options options;
  Bytes lungs(world.scan.size, 0);
  std::fill(lungs.begin(), lungs.begin() + static_cast<std::ptrdiff_t>(lungs.size() / 2), std::uint8_t{1});
  options.lungs.emplace(lungs.data(), world.scan.shape);
  try {
    const auto result = world.model.predict(world.scan.volume(), world.scan.grid(), options);
    require(!result.left.infection_ml.value && result.left.infection_ml.reason == "no_lung", "reason");
  } catch (const infnet::InputError&) {  // such lungs may be refused too
  }
  options = {};
  options.keep_flat_marks = true;
  const auto kept = world.model.predict(world.scan.volume(), world.scan.grid(), options);
  require(!kept.flat_marks_ml.value && kept.flat_marks_ml.reason == "flat_marks_kept", "flat marks");
}

void rescale(World& world) {
  std::vector<std::uint16_t> stored(world.scan.size);
  for (std::size_t n = 0; n < stored.size(); ++n) stored[n] = static_cast<std::uint16_t>(world.scan.hu[n] + 2000);
  infnet::Options options;
  options.rescale = infnet::Rescale{1.0, -2000.0};
  Bytes mask(world.scan.size);
  world.model.predict({stored.data(), world.scan.shape}, world.scan.grid(), mask_in(mask, world.scan), options);
  require(mask == world.expected, "another mask");
}

void from_spacing(World& world) {
  const auto result = world.model.predict(
      world.scan.volume(), infnet::Grid::from_spacing(world.scan.shape, {12.0, 4.5, 4.0}, "SPL", {1.0, 2.0, 3.0}));
  require(result.both.infection_ml.value.has_value(), "no millilitres");
  require(*result.right.infection_ml.value > *result.left.infection_ml.value, "sides");
}

void four_threads_at_once(World& world) {
  std::vector<Bytes> masks(4);
  std::vector<std::thread> threads;
  for (auto& mask : masks) threads.emplace_back([&] { mask = world.run(); });
  for (auto& thread : threads) thread.join();
  for (const auto& mask : masks) require(mask == world.expected, "a thread found another mask");
}

void load_in_ten_threads(World& world) {
  std::vector<Bytes> masks(world.is_short ? 3 : 10);
  std::vector<std::thread> threads;
  for (auto& mask : masks) {
    threads.emplace_back([&] { mask = world.run(infnet::Model(world.options(world.model_file))); });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& mask : masks) require(mask == world.expected, "a thread found another mask");
}

void file_deleted_while_loaded(World& world) {
  const auto copy = world.folder / "copy.onnx";
  fs::copy_file(world.model_file, copy, fs::copy_options::overwrite_existing);
  const infnet::Model model(world.options(copy));
  fs::remove(copy);
  require(world.run(model) == world.expected, "another mask");
}

void moved_model(World& world) {
  infnet::Model first(world.options(world.model_file));
  const infnet::Model second(std::move(first));
  require(world.run(second) == world.expected, "another mask");
}

void buffers_may_go_after_the_call(World& world) {
  Bytes mask(world.scan.size);
  {
    const auto copy = std::make_unique<std::vector<std::int16_t>>(world.scan.hu);
    world.model.predict({copy->data(), world.scan.shape}, world.scan.grid(), mask_in(mask, world.scan));
  }
  infnet::detail::within_python([] { pybind11::module_::import("gc").attr("collect")(); });
  require(mask == world.expected && world.run() == world.expected, "another mask");
}

/// No object of Python's knows the host's memory any more, whether the call went well or not.
void nothing_keeps_a_buffer(World& world) {
  const auto arrays = [] {
    return infnet::detail::within_python([] {
      pybind11::module_::import("gc").attr("collect")();
      const auto objects = pybind11::module_::import("gc").attr("get_objects")();
      std::size_t count = 0;
      for (const auto& one : objects) count += std::strcmp(Py_TYPE(one.ptr())->tp_name, "memoryview") == 0;
      return count;
    });
  };
  const auto before = arrays();
  world.run();
  auto hu = world.scan.hu;
  infnet::Options options;
  options.progress = [](std::size_t, std::size_t) { throw Failure("stop"); };
  try {
    world.run(options);
  } catch (const Failure&) {
  }
  require(arrays() == before, "a view of a buffer is left");
}

void logging_reaches_the_host(World& world) {
  std::atomic<int> count{0};
  {
    const infnet::Logging logging(
        [&](const infnet::LogRecord& record) {
          require(record.logger.rfind("infnet_runtime", 0) == 0 && !record.message.empty(), "record");
          ++count;
          throw Failure("what a sink throws is dropped");
        },
        infnet::Level::debug);
    infnet::detail::within_python([] {
      pybind11::module_::import("logging").attr("getLogger")("infnet_runtime.x").attr("info")("%d voxels", 5);
    });
    world.run();
  }
  const int counted = count;
  require(counted > 0, "nothing came");
  infnet::detail::within_python([] {
    pybind11::module_::import("logging").attr("getLogger")("infnet_runtime.x").attr("warning")("to nobody");
  });
  require(count == counted, "messages after the end");
}

void mask_file(World& world) {
  Bytes mask = world.expected;
  world.scan.file.write_mask(world.folder / "mask.nii.gz", mask_in(mask, world.scan));
  require(fs::file_size(world.folder / "mask.nii.gz") > 0, "no file");
}

// ------------------------------------------------------------------------------------------------ what is refused

void wrong_type(World& world) {
  refuses<infnet::InputError>(3202, "type", [&] {
    world.model.predict({world.scan.hu.data(), static_cast<infnet::Type>(99), world.scan.shape}, world.scan.grid());
  });
}

void wrong_shape(World& world) {
  auto [i, j, k] = world.scan.shape;
  refuses<infnet::GeometryError>(3204, "shape", [&] {
    world.model.predict({world.scan.hu.data(), {i, j, k - 1}}, world.scan.grid());
  });
  refuses<infnet::GeometryError>(3204, "the reverse", [&] {
    world.model.predict({world.scan.hu.data(), {k, j, i}}, world.scan.grid());
  });
  refuses<infnet::GeometryError>(3030, "axes of voxels", [&] {
    world.model.predict(world.scan.volume(), infnet::Grid::from_spacing({0, j, k}, {1, 1, 1}));
  });
}

void wrong_strides(World& world) {
  refuses<infnet::InputError>(3205, "strides", [&] {
    world.model.predict({world.scan.hu.data(), world.scan.shape, {2, 2, 2}}, world.scan.grid());
  });
}

void wrong_grid(World& world) {
  const auto& shape = world.scan.shape;
  refuses<infnet::GeometryError>(3031, "affine", [&] {
    world.model.predict(world.scan.volume(), infnet::Grid::from_affine(shape, {}));
  });
  try {
    world.model.predict(world.scan.volume(), infnet::Grid::from_spacing(shape, {0.0, 1.0, 1.0}));
    throw Failure("a spacing of 0 is not refused");
  } catch (const infnet::InputError&) {
  }
  try {
    world.model.predict(world.scan.volume(), infnet::Grid::from_spacing(shape, {1.0, 1.0, 1.0}, "SPX"));
    throw Failure("an orientation that there is not is not refused");
  } catch (const infnet::InputError&) {
  }
}

void not_finite(World& world) {
  std::vector<float> values(world.scan.hu.begin(), world.scan.hu.end());
  values[5] = std::numeric_limits<float>::quiet_NaN();
  values[6] = std::numeric_limits<float>::infinity();
  refuses<infnet::InputError>(3032, "2 of", [&] {
    world.model.predict({values.data(), world.scan.shape}, world.scan.grid());
  });
}

void no_memory(World& world) {
  const std::int16_t* const nothing = nullptr;
  refuses<infnet::InputError>(3201, "null pointer",
                              [&] { world.model.predict({nothing, world.scan.shape}, world.scan.grid()); });
  refuses<infnet::InputError>(3201, "out is a null pointer", [&] {
    world.model.predict(world.scan.volume(), world.scan.grid(), infnet::Mask(nullptr, world.scan.shape));
  });
}

void shared_memory(World& world) {
  auto hu = world.scan.hu;
  refuses<infnet::InputError>(3211, "shares memory", [&] {
    world.model.predict({hu.data(), world.scan.shape}, world.scan.grid(),
                        infnet::Mask(reinterpret_cast<std::uint8_t*>(hu.data()), world.scan.shape));
  });
}

void no_ct(World& world) {
  const std::vector<std::int16_t> same(world.scan.size, 40);
  refuses<infnet::InputError>(3040, "have the value 40", [&] {
    world.model.predict({same.data(), world.scan.shape}, world.scan.grid());
  });
}

void classes_of_a_model_without(World& world) {
  Bytes classes(world.scan.size);
  infnet::Options options;
  options.classes_out.emplace(classes.data(), world.scan.shape);
  refuses<infnet::ModelError>(4070, "", [&] { world.run(options); });
}

void wrong_batch_size(World& world) {
  infnet::Options options;
  options.batch_size = 0;
  refuses<infnet::InputError>(3072, "batch size", [&] { world.run(options); });
}

void no_model(World& world) {
  refuses<infnet::ModelError>(4030, "no.onnx", [&] { infnet::Model(world.options(world.folder / "no.onnx")); });
  std::ofstream(world.folder / "damaged.onnx") << "no model at all";
  try {
    infnet::Model(world.options(world.folder / "damaged.onnx"));
    throw Failure("a damaged model is not refused");
  } catch (const infnet::ModelError&) {
  }
}

void no_backend(World& world) {
  auto loading = world.options(world.model_file);
  loading.backend = "abacus";
  refuses<infnet::BackendError>(5003, "abacus", [&] { const infnet::Model model(loading); });
}

void no_scan(World& world) {
  refuses<infnet::InputError>(3001, "no.nii.gz", [&] { const infnet::ScanFile file(world.folder / "no.nii.gz"); });
}

void no_folder(World& world) {
  Bytes mask(world.scan.size);
  refuses<infnet::OutputError>(8001, "", [&] {
    world.scan.file.write_mask(world.folder / "no" / "mask.nii.gz", mask_in(mask, world.scan));
  });
}

void bug_in_python(World&) {
  refuses<infnet::Unexpected>(0, "ZeroDivisionError", [] {
    infnet::detail::within_python([] { pybind11::exec("1 / 0"); });
  });
}

// --------------------------------------------------------------------------------------------------- callbacks

void progress_comes_to_its_end(World& world) {
  std::size_t last = 0, all = 1, calls = 0;
  const auto here = std::this_thread::get_id();
  infnet::Options options;
  options.progress = [&](std::size_t done, std::size_t total) {
    require(std::this_thread::get_id() == here, "another thread");
    require(done > last && done <= total, "not in order");
    last = done, all = total, ++calls;
  };
  world.run(options);
  require(calls > 0 && last == all, "not to the end");
}

/// The same object comes back, and the next run is as good as ever.
void exception_in_a_callback(World& world) {
  struct Own {
    std::shared_ptr<int> payload;
  };
  const auto payload = std::make_shared<int>(5);
  infnet::Options options;
  options.progress = [&](std::size_t, std::size_t) { throw Own{payload}; };
  try {
    world.run(options);
    throw Failure("nothing was thrown");
  } catch (const Own& own) {
    require(own.payload == payload, "another object");
  }
  require(world.run() == world.expected, "another mask afterwards");
}

void calls_within_a_callback(World& world) {
  infnet::Options options;
  bool is_inside = false;
  options.progress = [&](std::size_t, std::size_t) {
    if (std::exchange(is_inside, true)) return;
    require(world.run() == world.expected, "another mask inside");
    std::thread([&] { require(world.run() == world.expected, "another mask beside"); }).join();  // the GIL is free
  };
  require(world.run(options) == world.expected, "another mask");
  require(is_inside, "no callback");
}

void call_with_the_gil_held(World& world) {
  infnet::detail::within_python([&] { require(world.run() == world.expected, "another mask"); });
}

void cancel_half_way(World& world) {
  const infnet::Cancel cancel;
  std::size_t calls = 0;
  infnet::Options options;
  options.batch_size = 1;
  options.cancel = &cancel;
  options.progress = [&](std::size_t done, std::size_t total) {
    require(done < total, "it went on to the end");
    if (++calls == 2) std::thread([&] { cancel.cancel(); }).join();
  };
  refuses<infnet::Cancelled>(9001, "", [&] { world.run(options); });
  require(calls == 2, "it went on");
  refuses<infnet::Cancelled>(9001, "", [&] { world.run(options); });  // once cancelled, always cancelled
  require(calls == 2, "it began");
}

// ----------------------------------------------------------------------------------------------------- streams

infnet::Plane plane_of(const World& world, std::size_t k) {
  const auto [planes, rows, columns] = world.scan.shape;
  require(k < planes, "no such plane");
  return {world.scan.hu.data() + k * rows * columns, {rows, columns}};
}

/// From two threads, the last plane first, and after the model's own end.
void stream_of_planes(World& world) {
  Bytes mask(world.scan.size, 7);
  auto model = std::make_unique<infnet::Model>(world.options(world.model_file));
  auto stream = model->stream(world.scan.grid(), infnet::Type::int16, mask_in(mask, world.scan));
  model.reset();
  const auto planes = stream.planes();
  require(planes == world.scan.shape[0], "planes");
  std::thread odd([&] {
    for (std::size_t k = 1; k < planes; k += 2) stream.push(k, plane_of(world, k));
  });
  for (std::size_t k = 0; k < planes; k += 2) stream.push(planes - 2 - k, plane_of(world, planes - 2 - k));
  odd.join();
  const auto result = stream.finish();
  require(mask == world.expected, "another mask");
  require(result.slices == planes, "slices");
  refuses<infnet::InputError>(3234, "has ended", [&] { stream.finish(); });
}

void stream_in_the_hosts_memory(World& world) {
  std::vector<std::int16_t> hu(world.scan.size);
  Bytes mask(world.scan.size, 7);
  const auto [planes, rows, columns] = world.scan.shape;
  auto stream = world.model.stream({hu.data(), world.scan.shape}, world.scan.grid(), mask_in(mask, world.scan));
  for (std::size_t k = 0; k < planes; ++k) {
    std::memcpy(hu.data() + k * rows * columns, plane_of(world, k).data, 2 * rows * columns);
    stream.push(k);
  }
  stream.finish();
  require(mask == world.expected, "another mask");
}

void stream_refuses(World& world) {
  const auto planes = world.scan.shape[0];
  auto stream = world.model.stream(world.scan.grid(), infnet::Type::int16);
  for (std::size_t k = 0; k + 1 < planes; ++k) stream.push(k, plane_of(world, k));
  refuses<infnet::InputError>(3235, std::to_string(planes - 1), [&] { stream.finish(); });
  refuses<infnet::InputError>(3231, "there already", [&] { stream.push(0, plane_of(world, 0)); });
  refuses<infnet::InputError>(3230, "expected a whole number", [&] { stream.push(planes, plane_of(world, 0)); });
  refuses<infnet::InputError>(3233, "without its voxels", [&] { stream.push(planes - 1); });
  auto plane = plane_of(world, planes - 1);
  plane.shape[1] -= 1;
  refuses<infnet::InputError>(3232, "", [&] { stream.push(planes - 1, plane); });
  const infnet::Stream given_up = world.model.stream(world.scan.grid(), infnet::Type::float32);
  stream.push(planes - 1, plane_of(world, planes - 1));
  require(stream.finish().both.infection_ml.value.has_value(), "no millilitres");
}

void stream_with_a_callback(World& world) {
  Bytes mask(world.scan.size, 7);
  bool throws = true;
  infnet::Options options;
  options.progress = [&](std::size_t, std::size_t) {
    if (throws) throw Failure("mine");
  };
  auto stream = world.model.stream(world.scan.volume(), world.scan.grid(), mask_in(mask, world.scan), options);
  for (std::size_t k = 0; k < stream.planes(); ++k) stream.push(k);
  try {
    stream.finish();
    throw std::logic_error("nothing was thrown");
  } catch (const Failure& failure) {
    require(std::string(failure.what()) == "mine", failure.what());
  }
  throws = false;
  stream.finish();
  require(mask == world.expected, "another mask");
}

// -------------------------------------------------------------------------------------- the process of the host

struct Process {
  std::vector<void (*)(int)> handlers;
  std::string locale;
  fs::path folder;

  static Process now() {
    Process found;
    for (const int number : {SIGINT, SIGTERM, SIGPIPE, SIGSEGV, SIGFPE, SIGABRT, SIGCHLD}) {
      struct sigaction action {};
      sigaction(number, nullptr, &action);
      found.handlers.push_back(action.sa_handler);
    }
    found.locale = std::setlocale(LC_ALL, nullptr);
    found.folder = fs::current_path();
    return found;
  }
  bool operator==(const Process& other) const {
    return handlers == other.handlers && locale == other.locale && folder == other.folder;
  }
};

using Case = void (*)(World&);
#define CASE(name) {#name, name, false}
#define LONG(name) {#name, name, true}

const struct {
  const char* name;
  Case run;
  bool is_long;
} cases[] = {
    CASE(numbers_and_mask), LONG(as_type<float>), LONG(as_type<double>), LONG(as_type<std::int32_t>),
    CASE(any_strides), CASE(other_outputs), LONG(missing_numbers_have_reasons), LONG(rescale), LONG(from_spacing),
    CASE(four_threads_at_once), CASE(load_in_ten_threads), LONG(file_deleted_while_loaded), LONG(moved_model),
    CASE(buffers_may_go_after_the_call), CASE(nothing_keeps_a_buffer), CASE(logging_reaches_the_host),
    LONG(mask_file), CASE(wrong_type), CASE(wrong_shape), CASE(wrong_strides), CASE(wrong_grid), CASE(not_finite),
    CASE(no_memory), CASE(shared_memory), CASE(no_ct), CASE(classes_of_a_model_without), CASE(wrong_batch_size),
    CASE(no_model), CASE(no_backend), CASE(no_scan), CASE(no_folder), CASE(bug_in_python),
    CASE(progress_comes_to_its_end), CASE(exception_in_a_callback), CASE(calls_within_a_callback),
    CASE(call_with_the_gil_held), CASE(cancel_half_way), CASE(stream_of_planes), CASE(stream_in_the_hosts_memory),
    LONG(stream_refuses), LONG(stream_with_a_callback),
};

int live(const std::string& name) {
  try {
    const auto fault = lives::faults.find(name);
    (fault == lives::faults.end() ? lives::cases.at(name) : fault->second)();
  } catch (const std::exception& error) {
    std::cout << "FAILED " << name << ": " << error.what() << std::endl;
    return 1;
  }
  std::cout << "ok " << name << std::endl;
  return 0;
}

int run_all(World& world) {
  int failed = 0;
  for (const auto& one : cases) {
    if (one.is_long && world.is_short) continue;
    try {
      one.run(world);
      std::cout << "ok " << one.name << std::endl;
    } catch (const std::exception& error) {
      ++failed;
      std::cout << "FAILED " << one.name << ": " << error.what() << std::endl;
    }
  }
  return failed;
}

}  // namespace

int main(int count, char** words) {
  if (count > 4 && std::string(words[1]) == "--life") {
    lives::model_file = words[3];
    lives::volume_file = words[4];
    if (count > 5) lives::backend = words[5];
    return live(words[2]);
  }
  if (count < 4) return 2;
  const auto before = Process::now();
  int failed = 0;
  {
    const infnet::Interpreter python;
    World world(words[1], words[2], words[3], count > 4 ? words[4] : "auto");
    failed = run_all(world);
  }
  const bool is_as_before = Process::now() == before;
  std::cout << (is_as_before ? "ok" : "FAILED") << " process_is_as_it_was" << std::endl;
  return failed || !is_as_before;
}
