#include "services/telemetry/log_line.h"

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/text/utf8.h"

namespace postern::telemetry {
namespace {

constexpr size_t kMaxStringOctets = 1024;
constexpr absl::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// C1 controls in UTF-8: terminals obey them too.
bool IsC1(absl::string_view sequence) {
  return sequence.size() == 2 && sequence[0] == '\xC2' && static_cast<uint8_t>(sequence[1]) < 0xA0;
}

// Escapes as RFC 8259 7 does, cuts at kMaxStringOctets of input.
void AppendEscaped(absl::string_view text, std::string* out) {
  static constexpr char kHex[] = "0123456789abcdef";
  bool cut = false;
  if (text.size() > kMaxStringOctets) {
    size_t end = kMaxStringOctets;
    // Not inside a sequence; more than three octets back there is none to save.
    for (int back = 0; back < 3 && (static_cast<uint8_t>(text[end]) & 0xC0) == 0x80; ++back) {
      --end;
    }
    text = text.substr(0, end);
    cut = true;
  }
  while (!text.empty()) {
    const size_t length = text::Utf8Length(text);
    if (length == 0) {
      absl::StrAppend(out, kReplacement);
      text.remove_prefix(1);
      continue;
    }
    const absl::string_view sequence = text.substr(0, length);
    text.remove_prefix(length);
    const auto octet = static_cast<uint8_t>(sequence[0]);
    if (octet == '"' || octet == '\\') {
      out->push_back('\\');
      out->push_back(sequence[0]);
    } else if (octet == '\n') {
      absl::StrAppend(out, "\\n");
    } else if (octet == '\r') {
      absl::StrAppend(out, "\\r");
    } else if (octet == '\t') {
      absl::StrAppend(out, "\\t");
    } else if (octet < 0x20 || octet == 0x7F || IsC1(sequence)) {
      const auto code = static_cast<uint8_t>(sequence.back());
      absl::StrAppend(out, "\\u00");
      out->push_back(kHex[code >> 4]);
      out->push_back(kHex[code & 0xF]);
    } else {
      out->append(sequence.data(), sequence.size());
    }
  }
  if (cut) {
    absl::StrAppend(out, "...");
  }
}

void AppendQuoted(absl::string_view text, std::string* out) {
  out->push_back('"');
  AppendEscaped(text, out);
  out->push_back('"');
}

// RFC 3339, UTC, milliseconds.
std::string Rfc3339(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone());
}

bool IsPlain(absl::string_view text) {
  if (text.empty() || text.size() > kMaxStringOctets) {
    return false;
  }
  for (char c : text) {
    if (!absl::ascii_isgraph(static_cast<unsigned char>(c)) || c == '"' || c == '\\' || c == '=') {
      return false;
    }
  }
  return true;
}

}  // namespace

absl::string_view LogLevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "error";
}

std::string JsonLogLine(absl::Time time, LogLevel level, absl::string_view service,
                        absl::string_view event, std::initializer_list<LogField> fields) {
  std::string line =
      absl::StrCat("{\"time\":\"", Rfc3339(time), "\",\"level\":\"", LogLevelName(level), "\"");
  if (!service.empty()) {
    absl::StrAppend(&line, ",\"service\":");
    AppendQuoted(service, &line);
  }
  absl::StrAppend(&line, ",\"event\":");
  AppendQuoted(event, &line);
  for (const LogField& field : fields) {
    line.push_back(',');
    AppendQuoted(field.key, &line);
    line.push_back(':');
    switch (field.kind) {
      case LogField::Kind::kString:
        AppendQuoted(field.text, &line);
        break;
      case LogField::Kind::kInt:
        absl::StrAppend(&line, field.number);
        break;
      case LogField::Kind::kBool:
        absl::StrAppend(&line, field.number != 0 ? "true" : "false");
        break;
    }
  }
  line.push_back('}');
  return line;
}

std::string TextLogLine(absl::Time time, LogLevel level, absl::string_view service,
                        absl::string_view event, std::initializer_list<LogField> fields) {
  std::string line = absl::StrCat(Rfc3339(time), " ",
                                  absl::AsciiStrToUpper(std::string(LogLevelName(level))), " ");
  if (!service.empty()) {
    AppendEscaped(service, &line);
    absl::StrAppend(&line, ": ");
  }
  AppendEscaped(event, &line);
  for (const LogField& field : fields) {
    line.push_back(' ');
    AppendEscaped(field.key, &line);
    line.push_back('=');
    switch (field.kind) {
      case LogField::Kind::kString:
        if (IsPlain(field.text)) {
          absl::StrAppend(&line, field.text);
        } else {
          AppendQuoted(field.text, &line);
        }
        break;
      case LogField::Kind::kInt:
        absl::StrAppend(&line, field.number);
        break;
      case LogField::Kind::kBool:
        absl::StrAppend(&line, field.number != 0 ? "true" : "false");
        break;
    }
  }
  return line;
}

}  // namespace postern::telemetry
