#include "services/rpc/server_metrics.h"

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/generic/async_generic_service.h"
#include "grpcpp/support/interceptor.h"
#include "grpcpp/support/server_interceptor.h"
#include "services/telemetry/metrics.h"

namespace postern::rpc {
namespace {

// Any thread. A code's counter is made when it first happens: most methods know three of them.
class MethodMetrics {
 public:
  explicit MethodMetrics(absl::string_view path) {
    if (!path.empty() && path[0] == '/') {
      path.remove_prefix(1);
    }
    const size_t slash = path.find('/');
    service_ = std::string(path.substr(0, slash));
    method_ = slash == absl::string_view::npos ? "" : std::string(path.substr(slash + 1));
    seconds_ = &telemetry::GetLatencyHistogram(
        "postern_rpc_server_seconds",
        "Time from a call's arrival to its end; of a stream, its life.",
        {{"service", service_}, {"method", method_}});
  }

  void Record(int code, double seconds) {
    seconds_->Observe(seconds);
    if (code < 0 || code >= static_cast<int>(counters_.size())) {
      code = static_cast<int>(absl::StatusCode::kUnknown);
    }
    telemetry::Counter* counter = counters_[code].load(std::memory_order_acquire);
    if (counter == nullptr) {
      counter = &telemetry::GetCounter(
          "postern_rpc_server_calls_total", "Calls answered.",
          {{"service", service_},
           {"method", method_},
           {"code", absl::StatusCodeToString(static_cast<absl::StatusCode>(code))}});
      counters_[code].store(counter, std::memory_order_release);
    }
    counter->Add();
  }

 private:
  std::string service_;
  std::string method_;
  telemetry::Histogram* seconds_;
  std::array<std::atomic<telemetry::Counter*>, 17> counters_{};
};

// One call's, from its arrival to its end.
class CallMetrics final : public grpc::experimental::Interceptor {
 public:
  explicit CallMetrics(MethodMetrics* method) : method_(method) {}
  ~CallMetrics() override {
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start_;
    method_->Record(code_, took.count());
  }

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(
            grpc::experimental::InterceptionHookPoints::PRE_SEND_STATUS)) {
      code_ = static_cast<int>(methods->GetSendStatus().error_code());
    }
    methods->Proceed();
  }

 private:
  MethodMetrics* const method_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  // What stands when no status was sent.
  int code_ = static_cast<int>(absl::StatusCode::kCancelled);
};

class MetricsFactory final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override {
    // A method that no service registered: its name is the caller's, and is no label.
    if (dynamic_cast<grpc::GenericCallbackServerContext*>(info->server_context()) != nullptr ||
        dynamic_cast<grpc::GenericServerContext*>(info->server_context()) != nullptr) {
      return new CallMetrics(&unknown_);
    }
    return new CallMetrics(Find(info->method()));
  }

 private:
  // Bounded: registered methods alone get here.
  MethodMetrics* Find(const char* method) {
    {
      absl::ReaderMutexLock lock(&mutex_);
      if (const auto found = methods_.find(method); found != methods_.end()) {
        return found->second.get();
      }
    }
    absl::MutexLock lock(&mutex_);
    std::unique_ptr<MethodMetrics>& made = methods_[method];
    if (made == nullptr) {
      made = std::make_unique<MethodMetrics>(method);
    }
    return made.get();
  }

  MethodMetrics unknown_{"unknown/unknown"};
  absl::Mutex mutex_;
  absl::flat_hash_map<std::string, std::unique_ptr<MethodMetrics>> methods_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeRpcMetrics() {
  return std::make_unique<MetricsFactory>();
}

}  // namespace postern::rpc
