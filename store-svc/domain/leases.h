// The locks of maildrops: one session at a time reads a maildrop and deletes from it.
#ifndef POSTERN_STORE_SVC_DOMAIN_LEASES_H_
#define POSTERN_STORE_SVC_DOMAIN_LEASES_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "store-svc/domain/mailbox_id.h"

namespace postern::store {

// A lease is named by its fence, a number that is never another lease's; whoever presents it must
// also present the credential it was taken with. It ends at once when its session ends; when the
// stream under the session breaks it stays for a grace period, in which only its fence takes it up
// again. Implementations pass the suite in leases_contract.h. Thread-safe. Answers come by
// callback, here or on a thread of the implementation's, which the callback must not block;
// UNAVAILABLE when the leases can't be asked.
class Leases {
 public:
  // One stream's hold on a lease. After a resume the former holder's calls do nothing.
  struct Hold {
    MailboxId mailbox;
    uint64_t fence = 0;
    uint64_t holder = 0;
  };
  // What EndSession took out, so that it can be put back.
  struct Ended {
    Hold hold;
    std::string credential;
  };
  using HoldDone = absl::AnyInvocable<void(absl::StatusOr<Hold>)>;
  using MailboxDone = absl::AnyInvocable<void(absl::StatusOr<MailboxId>)>;
  // The mailbox that the call's token names, however old: asked by those who don't know it from the
  // fence alone. Its error is the answer.
  using TokenMailbox = absl::FunctionRef<absl::StatusOr<MailboxId>()>;

  virtual ~Leases() = default;

  // ABORTED: another session has it. RESOURCE_EXHAUSTED: there are too many.
  virtual void Take(const MailboxId& mailbox, absl::string_view credential, HoldDone done) = 0;

  // Takes up a lease, held or broken. NOT_FOUND: there is none with this fence (any more).
  // UNAUTHENTICATED: another credential's.
  virtual void Resume(uint64_t fence, absl::string_view credential, TokenMailbox claimed,
                      HoldDone done) = 0;
  // After NOT_FOUND: takes up one that was forgotten with the process that knew it, if nobody took
  // the mailbox since. ABORTED otherwise. The caller has verified that the credential is good for
  // the mailbox now.
  virtual void ResumeFormer(const MailboxId& mailbox, uint64_t fence, absl::string_view credential,
                            HoldDone done) = 0;

  // The maildrop of a lease, held or broken. FAILED_PRECONDITION: the fence is stale.
  // UNAUTHENTICATED: another credential's.
  virtual void Find(uint64_t fence, absl::string_view credential, TokenMailbox claimed,
                    MailboxDone done) = 0;
  // As Find; and until Unpin no other session deletes from the mailbox, and none takes it while
  // MailStore::Delete with this fence is at work.
  virtual void Pin(uint64_t fence, absl::string_view credential, TokenMailbox claimed,
                   MailboxDone done) = 0;
  virtual void Unpin(uint64_t fence) = 0;

  // The session ended: the mailbox is free. Nothing when the hold was superseded.
  virtual void EndSession(const Hold& hold,
                          absl::AnyInvocable<void(std::optional<Ended>)> done) = 0;
  using Done = absl::AnyInvocable<void()>;
  // The stream broke: the grace period begins.
  virtual void BreakStream(const Hold& hold, Done done) = 0;
  // What looked like a session's end turned out to be a broken stream: the grace period begins, if
  // nobody took the mailbox since.
  virtual void PutBackBroken(Ended ended, Done done) = 0;

  // Those that this process knows of, held or broken.
  virtual size_t size() const = 0;
};

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_DOMAIN_LEASES_H_
