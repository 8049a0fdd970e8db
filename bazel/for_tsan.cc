// What ThreadSanitizer has to be told, in every executable under --config=tsan.
//
// Debian's Abseil is not instrumented: ThreadSanitizer would not see what its mutexes put in order,
// and would report every use of what they guard. The definitions below come before the library's,
// for gRPC's calls of them too; each tells ThreadSanitizer and calls the library's own.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"

#define POSTERN_STRING2(x) #x
#define POSTERN_STRING(x) POSTERN_STRING2(x)
// Debian's inline namespaces have names of one length: debian3, debian7.
#define POSTERN_NAME(prefix, rest) \
  prefix "4absl7" POSTERN_STRING(ABSL_OPTION_INLINE_NAMESPACE_NAME) rest

namespace {

static_assert(sizeof(POSTERN_STRING(ABSL_OPTION_INLINE_NAMESPACE_NAME)) == sizeof("debian3"));

// The definition that would have been called; the same for every call of `name`.
template <typename Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

// What this thread is locking, awaiting or unlocking: the library evaluates conditions, also those
// of other threads, while it holds it.
thread_local void* current = nullptr;

class Within {
 public:
  explicit Within(void* mutex) : before_(current) { current = mutex; }
  ~Within() { current = before_; }

 private:
  void* const before_;
};

}  // namespace

extern "C" const char* __tsan_default_options() {
  // What uninstrumented libraries do among themselves is not looked at.
  return "halt_on_error=1:ignore_noninstrumented_modules=1";
}

extern "C" const char* __tsan_default_suppressions() {
  // gRPC hands its calls from thread to thread through queues without a lock, which it does not
  // see: the code in gRPC's headers and what runs inside a reaction to a call are not judged.
  return "race:^grpc::\n";
}

namespace absl {
ABSL_NAMESPACE_BEGIN

void Mutex::Lock() {
  static auto* const next = Next<void(Mutex*)>(POSTERN_NAME("_ZN", "5Mutex4LockEv"));
  next(this);
  __tsan_acquire(this);
}

void Mutex::Unlock() {
  static auto* const next = Next<void(Mutex*)>(POSTERN_NAME("_ZN", "5Mutex6UnlockEv"));
  const Within within(this);
  __tsan_release(this);
  next(this);
}

bool Mutex::TryLock() {
  static auto* const next = Next<bool(Mutex*)>(POSTERN_NAME("_ZN", "5Mutex7TryLockEv"));
  if (!next(this)) return false;
  __tsan_acquire(this);
  return true;
}

void Mutex::ReaderLock() {
  static auto* const next = Next<void(Mutex*)>(POSTERN_NAME("_ZN", "5Mutex10ReaderLockEv"));
  next(this);
  __tsan_acquire(this);
}

void Mutex::ReaderUnlock() {
  static auto* const next = Next<void(Mutex*)>(POSTERN_NAME("_ZN", "5Mutex12ReaderUnlockEv"));
  const Within within(this);
  __tsan_release(this);
  next(this);
}

void Mutex::Await(const Condition& condition) {
  static auto* const next =
      Next<void(Mutex*, const Condition&)>(POSTERN_NAME("_ZN", "5Mutex5AwaitERKNS0_9ConditionE"));
  const Within within(this);
  __tsan_release(this);
  next(this, condition);
  __tsan_acquire(this);
}

bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  static auto* const next = Next<bool(Mutex*, const Condition&, Duration)>(
      POSTERN_NAME("_ZN", "5Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE"));
  const Within within(this);
  __tsan_release(this);
  const bool result = next(this, condition, timeout);
  __tsan_acquire(this);
  return result;
}

bool Condition::Eval() const {
  static auto* const next = Next<bool(const Condition*)>(POSTERN_NAME("_ZNK", "9Condition4EvalEv"));
  if (current == nullptr) return next(this);
  __tsan_acquire(current);
  const bool result = next(this);
  __tsan_release(current);
  return result;
}

void CondVar::Wait(Mutex* mutex) {
  static auto* const next =
      Next<void(CondVar*, Mutex*)>(POSTERN_NAME("_ZN", "7CondVar4WaitEPNS0_5MutexE"));
  __tsan_release(mutex);
  next(this, mutex);
  __tsan_acquire(mutex);
}

bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  static auto* const next = Next<bool(CondVar*, Mutex*, Duration)>(
      POSTERN_NAME("_ZN", "7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE"));
  __tsan_release(mutex);
  const bool result = next(this, mutex, timeout);
  __tsan_acquire(mutex);
  return result;
}

bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  static auto* const next = Next<bool(CondVar*, Mutex*, Time)>(
      POSTERN_NAME("_ZN", "7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE"));
  __tsan_release(mutex);
  const bool result = next(this, mutex, deadline);
  __tsan_acquire(mutex);
  return result;
}

void Notification::Notify() {
  static auto* const next =
      Next<void(Notification*)>(POSTERN_NAME("_ZN", "12Notification6NotifyEv"));
  __tsan_release(this);
  // HasBeenNotified reads this with an acquiring load, in the caller.
  __tsan_release(&notified_yet_);
  next(this);
}

void Notification::WaitForNotification() const {
  static auto* const next = Next<void(const Notification*)>(
      POSTERN_NAME("_ZNK", "12Notification19WaitForNotificationEv"));
  next(this);
  __tsan_acquire(const_cast<Notification*>(this));
}

bool Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  static auto* const next = Next<bool(const Notification*, Duration)>(
      POSTERN_NAME("_ZNK", "12Notification30WaitForNotificationWithTimeoutENS0_8DurationE"));
  const bool result = next(this, timeout);
  if (result) __tsan_acquire(const_cast<Notification*>(this));
  return result;
}

bool BlockingCounter::DecrementCount() {
  static auto* const next =
      Next<bool(BlockingCounter*)>(POSTERN_NAME("_ZN", "15BlockingCounter14DecrementCountEv"));
  __tsan_release(this);
  return next(this);
}

void BlockingCounter::Wait() {
  static auto* const next =
      Next<void(BlockingCounter*)>(POSTERN_NAME("_ZN", "15BlockingCounter4WaitEv"));
  next(this);
  __tsan_acquire(this);
}

ABSL_NAMESPACE_END
}  // namespace absl
