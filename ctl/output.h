// What a command prints when it went well: lines and tables for people, one JSON object for
// scripts.
#ifndef POSTERN_CTL_OUTPUT_H_
#define POSTERN_CTL_OUTPUT_H_

#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "ctl/json.h"

namespace postern::ctl {

// Control characters as "?": what a remote server said must not steer the terminal.
std::string Printable(absl::string_view text);

// "3 MiB", "512 B"
std::string Octets(uint64_t octets);
// "2026-01-31 12:00:00 UTC"; "-" for 0.
std::string UnixTime(int64_t seconds);

// One thread. `out` must outlive it.
class Output {
 public:
  Output(std::ostream& out, bool json) : out_(out), json_(json) {}

  // One thing was made, changed or looked up.
  void Thing(const JsonObject& json, absl::string_view text);

  struct Row {
    JsonObject json;
    std::vector<std::string> cells;
  };
  // {"`key`": [...]}, or a table, or "no `key`".
  void List(absl::string_view key, const std::vector<std::string>& columns,
            const std::vector<Row>& rows);

 private:
  std::ostream& out_;
  const bool json_;
};

}  // namespace postern::ctl

#endif  // POSTERN_CTL_OUTPUT_H_
