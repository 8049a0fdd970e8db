#include "ctl/output.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"

namespace postern::ctl {
namespace {

// Characters, for columns: continuation octets of UTF-8 take no room.
size_t Width(absl::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](unsigned char c) { return (c & 0xc0) != 0x80; }));
}

std::string Line(const std::vector<std::string>& cells, const std::vector<size_t>& widths) {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) {
    line += cells[i];
    // Nothing stands behind the last one.
    if (i + 1 < cells.size()) line.append(widths[i] + 2 - Width(cells[i]), ' ');
  }
  return line;
}

}  // namespace

std::string Printable(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const auto next = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : 0);
    if (c == 0xc2 && next >= 0x80 && next <= 0x9f) {
      // U+0080 to U+009F: the C1 controls.
      out.push_back('?');
      ++i;
    } else {
      out.push_back(absl::ascii_iscntrl(c) ? '?' : text[i]);
    }
  }
  return out;
}

std::string Octets(uint64_t octets) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = static_cast<double>(octets);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? absl::StrCat(octets, " B") : absl::StrFormat("%.4g %s", value, kUnits[unit]);
}

std::string UnixTime(int64_t seconds) {
  if (seconds == 0) return "-";
  return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", absl::FromUnixSeconds(seconds),
                          absl::UTCTimeZone());
}

void Output::Thing(const JsonObject& json, absl::string_view text) {
  out_ << (json_ ? json.ToString() : std::string(text)) << "\n";
}

void Output::List(absl::string_view key, const std::vector<std::string>& columns,
                  const std::vector<Row>& rows) {
  if (json_) {
    std::vector<std::string> items;
    for (const Row& row : rows) items.push_back(row.json.ToString());
    out_ << JsonObject().Array(key, items).ToString() << "\n";
    return;
  }
  if (rows.empty()) {
    out_ << "no " << std::string(key) << "\n";
    return;
  }
  std::vector<std::vector<std::string>> lines = {columns};
  for (const Row& row : rows) {
    std::vector<std::string> cells;
    for (const std::string& cell : row.cells) cells.push_back(Printable(cell));
    lines.push_back(std::move(cells));
  }
  std::vector<size_t> widths(columns.size(), 0);
  for (const auto& cells : lines) {
    for (size_t i = 0; i < cells.size(); ++i) widths[i] = std::max(widths[i], Width(cells[i]));
  }
  for (const auto& cells : lines) out_ << Line(cells, widths) << "\n";
}

}  // namespace postern::ctl
