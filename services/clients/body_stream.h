// A message body on its way to a service, in pieces.
#ifndef POSTERN_SERVICES_CLIENTS_BODY_STREAM_H_
#define POSTERN_SERVICES_CLIENTS_BODY_STREAM_H_

#include <string>

#include "services/async/done.h"
#include "services/body/piece.h"

namespace postern::clients {

// One operation at a time. Destroying it before Finish is done cancels the call: nothing is
// committed.
template <typename Response>
class BodyStream {
 public:
  virtual ~BodyStream() = default;
  // At most kMaxPieceOctets. `done` runs when the next piece may be written: a slow server slows
  // the writer.
  virtual void Write(std::string piece, async::DoneStatus done) = 0;
  // No more pieces: OK means committed.
  virtual void Finish(async::Done<Response> done) = 0;
};

}  // namespace postern::clients

#endif  // POSTERN_SERVICES_CLIENTS_BODY_STREAM_H_
