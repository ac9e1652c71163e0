// scanner_demo VOLUME [--out MASK] [--model MODEL]
//
// What a scanner's software does with infnet: a volume in its own memory, one model, four threads, masks in its own
// memory, numbers and warnings on the screen. The volume comes from a NIfTI file here, read by the runtime's reader,
// and the mask goes into one; infnet-infer writes the same bytes.

#include <infnet/infnet.hpp>

#include <chrono>
#include <cstdio>
#include <exception>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr int threads = 4;

struct Arguments {
  std::string volume, out, model;
};

/// A volume as a scanner has it: slice after slice, row after row, in memory that no other part owns.
struct Scanned {
  std::vector<std::uint8_t> bytes;
  infnet::Shape shape;
  std::size_t bytes_per_voxel;

  explicit Scanned(const infnet::ScanFile& file)
      : bytes(file.bytes()), shape(file.shape()), bytes_per_voxel(bytes.size() / (shape[0] * shape[1] * shape[2])) {
    file.copy_to(bytes.data(), file.strides(bytes_per_voxel));
  }
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string text(const infnet::Number& number, const char* unit) {
  if (!number.value) return number.reason;
  char digits[32];
  std::snprintf(digits, sizeof digits, "%.1f %s", *number.value, unit);
  return digits;
}

void show(const infnet::Result& result) {
  std::cout << "infection   " << text(result.both.infection_ml, "ml") << ", "
            << text(result.both.infection_percent, "% of the lung") << " (right "
            << text(result.right.infection_ml, "ml") << ", left " << text(result.left.infection_ml, "ml") << ")\n";
  for (const auto& flag : result.flags) {
    std::cout << (flag.warns ? "WARNING     " : "note        ") << flag.text << "\n";
  }
}

void run(const Arguments& arguments) {
  const infnet::Interpreter python;
  infnet::LoadOptions loading;
  loading.model = arguments.model;
  const infnet::Model model(loading);

  const infnet::ScanFile file(arguments.volume);
  const Scanned scan(file);
  const infnet::Volume volume(scan.bytes.data(), file.type(), scan.shape, file.strides(scan.bytes_per_voxel));
  const infnet::Grid grid = file.grid();
  infnet::Options options;
  options.intensity = file.intensity();
  options.name = file.name();

  const std::size_t voxels = scan.bytes.size() / scan.bytes_per_voxel;
  std::vector<std::vector<std::uint8_t>> masks(1 + threads, std::vector<std::uint8_t>(voxels));
  const auto segment = [&](std::size_t n) {
    return model.predict(volume, grid, infnet::Mask(masks[n].data(), scan.shape, file.strides(1)), options);
  };

  auto start = std::chrono::steady_clock::now();
  const infnet::Result result = segment(0);
  const double first_s = seconds_since(start);

  start = std::chrono::steady_clock::now();
  std::vector<std::exception_ptr> failures(threads);
  std::vector<std::thread> running;
  for (std::size_t n = 0; n < threads; ++n) {
    running.emplace_back([&, n] {
      try {
        segment(1 + n);
      } catch (...) {
        failures[n] = std::current_exception();
      }
    });
  }
  for (auto& thread : running) thread.join();
  const double all_s = seconds_since(start);
  for (const auto& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
  for (const auto& mask : masks) {
    if (mask != masks[0]) throw std::runtime_error("a thread found another mask than the first run");
  }

  show(result);
  std::printf("time        first %.2f s; %d threads at once %.2f s, %.2f s a volume; all masks equal\n", first_s,
              threads, all_s, all_s / threads);
  if (!arguments.out.empty()) {
    file.write_mask(arguments.out, infnet::Mask(masks.back().data(), scan.shape, file.strides(1)));
    std::cout << "written     " << arguments.out << "\n";
  }
}

/// Empty volume where the line cannot be read.
Arguments read(const std::vector<std::string>& words) {
  Arguments arguments;
  for (std::size_t n = 0; n < words.size(); ++n) {
    const bool has_value = n + 1 < words.size();
    if (words[n] == "--out" && has_value) {
      arguments.out = words[++n];
    } else if (words[n] == "--model" && has_value) {
      arguments.model = words[++n];
    } else if (arguments.volume.empty() && words[n].rfind("--", 0) != 0) {
      arguments.volume = words[n];
    } else {
      return {};
    }
  }
  return arguments;
}

}  // namespace

int main(int count, char** words) {
  const Arguments arguments = read({words + 1, words + count});
  if (arguments.volume.empty()) {
    std::cerr << "usage: scanner_demo VOLUME [--out MASK] [--model MODEL]\n";
    return 2;
  }
  try {
    run(arguments);
  } catch (const infnet::Error& error) {  // it says what to do
    std::cerr << "error" << error.what() << "\n";
    return error.code() >= 1000 ? error.code() / 1000 : 1;
  } catch (const std::exception& error) {
    std::cerr << "error " << error.what() << "\n";
    return 1;
  }
  return 0;
}
