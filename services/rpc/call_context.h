// What travels with every RPC beside its request: the trace (W3C Trace Context, `traceparent`) and
// the deadline.
#ifndef POSTERN_SERVICES_RPC_CALL_CONTEXT_H_
#define POSTERN_SERVICES_RPC_CALL_CONTEXT_H_

#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace postern::rpc {

struct TraceContext {
  // 32 lower-case hexadecimal digits; never all zero.
  std::string trace_id;
  // 16 lower-case hexadecimal digits: the caller's span.
  std::string parent_id;

  static TraceContext New();
  // A new span of this trace; of a new one when there is none ("").
  static TraceContext Within(absl::string_view trace_id);
  // A malformed or absent header starts a new trace.
  static TraceContext FromHeader(absl::string_view traceparent);
  // "00-<trace_id>-<parent_id>-01"
  std::string ToHeader() const;
};

struct CallContext {
  TraceContext trace;
  absl::Time deadline = absl::InfiniteFuture();
  // How long a server that can't be reached is asked again: a person waits for the answer, 5 s with
  // the last attempt's time. Not sent.
  absl::Duration patience = absl::Milliseconds(3500);
};

}  // namespace postern::rpc

#endif  // POSTERN_SERVICES_RPC_CALL_CONTEXT_H_
