// embedding MODEL VOLUME VOLUMES BACKEND: the same volume in the same memory by C++ and by Python's own call, in turns.
// Prints one line of JSON; benchmarks/embedding.py reads it.

#include <infnet/infnet.hpp>

#include <chrono>
#include <cstdio>
#include <ctime>
#include <string>
#include <vector>

namespace {

namespace py = pybind11;

struct Took {
  double cpu_s, wall_s;
};

double cpu_s() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

template <class Work>
Took timed(Work&& work) {
  const auto start = std::chrono::steady_clock::now();
  const double before_s = cpu_s();
  work();
  const double took_s = cpu_s() - before_s;
  return {took_s, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()};
}

std::string list(const std::vector<Took>& all, double Took::*which) {
  std::string text = "[";
  for (const auto& one : all) text += (text.size() > 1 ? ", " : "") + std::to_string(one.*which);
  return text + "]";
}

}  // namespace

int main(int count, char** words) {
  if (count != 5) return 2;
  const infnet::Interpreter python;
  infnet::LoadOptions loading;
  loading.model = words[1];
  loading.backend = words[4];
  loading.device = "cpu";
  loading.threads = 1;
  const infnet::Model model(loading);
  const infnet::ScanFile file(words[2]);
  const auto shape = file.shape();
  const auto grid = file.grid();
  std::vector<std::int16_t> hu(shape[0] * shape[1] * shape[2]);
  std::vector<std::uint8_t> mask(hu.size()), same(hu.size());
  file.copy_to(hu.data(), infnet::c_order(shape, 2));
  const infnet::Volume volume(hu.data(), shape);

  const auto by_cpp = [&] { model.predict(volume, grid, infnet::Mask(mask.data(), shape)); };
  // As a Python program does it that has loaded its model, and made its arrays and its grid.
  const infnet::detail::Held call = infnet::detail::within_python([&] {
    const auto data = infnet::detail::lend(volume, "volume").leave();
    const auto out = infnet::detail::lend(infnet::Mask(same.data(), shape), "out").leave();
    const auto load = py::module_::import("infnet_runtime").attr("load");
    const py::object path = loading.model.empty() ? py::object(py::none()) : py::str(loading.model.string());
    const auto loaded =
        load(path, py::arg("backend") = loading.backend, py::arg("device") = "cpu", py::arg("threads") = 1);
    return infnet::detail::Held(py::module_::import("functools").attr("partial")(
        loaded.attr("predict_buffer"), data, grid.to_python(), py::arg("out") = out));
  });
  const auto by_python = [&] { infnet::detail::within_python([&] { call.get()(); }); };

  std::vector<Took> cpp, other;
  const int volumes = std::stoi(words[3]);
  for (int n = 0; n < volumes; ++n) {
    if (n % 2 == 0) cpp.push_back(timed(by_cpp));
    other.push_back(timed(by_python));
    if (n % 2 == 1) cpp.push_back(timed(by_cpp));
  }
  std::printf("{\"cpp_cpu_s\": %s, \"python_cpu_s\": %s, \"cpp_wall_s\": %s, \"equal\": %s}\n",
              list(cpp, &Took::cpu_s).c_str(), list(other, &Took::cpu_s).c_str(), list(cpp, &Took::wall_s).c_str(),
              mask == same ? "true" : "false");
  return mask == same ? 0 : 1;
}
