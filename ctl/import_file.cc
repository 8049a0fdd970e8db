#include "ctl/import_file.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "services/text/nearest.h"

namespace postern::ctl {
namespace {

using Kind = ImportLine::Kind;

// Puts the domain behind a name that has none; false: there is none to put.
bool Complete(std::string* name, absl::string_view domain) {
  if (name->find('@') != std::string::npos) return true;
  if (domain.empty()) return false;
  absl::StrAppend(name, "@", domain);
  return true;
}

std::string NoDomain(absl::string_view name) {
  return absl::StrCat("\"", name, "\" has no domain: give --domain");
}

std::vector<std::string> Words(absl::string_view text) {
  return absl::StrSplit(text, absl::ByAnyChar(" \t,"), absl::SkipEmpty());
}

ImportLine MakeAlias(int line, std::string name, std::vector<std::string> targets,
                     absl::string_view domain) {
  ImportLine made{line, Kind::kAlias, std::move(name), "", std::move(targets), ""};
  if (!Complete(&made.name, domain)) made.fault = NoDomain(made.name);
  for (std::string& target : made.targets) {
    if (!Complete(&target, domain)) made.fault = NoDomain(target);
  }
  if (made.targets.empty()) made.fault = "an alias without targets";
  return made;
}

ImportLine MakeAccount(int line, std::string name, std::string hash, absl::string_view domain) {
  ImportLine made{line, Kind::kAccount, std::move(name), std::move(hash), {}, ""};
  if (!Complete(&made.name, domain)) made.fault = NoDomain(made.name);
  if (made.password_hash.empty()) made.fault = "has no password hash";
  return made;
}

std::vector<ImportLine> ReadPasswdFile(absl::string_view text, absl::string_view domain) {
  std::vector<ImportLine> lines;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = absl::StripSuffix(line, "\r");
    if (absl::StripAsciiWhitespace(line).empty() || absl::StartsWith(line, "#")) continue;
    const std::vector<std::string> fields = absl::StrSplit(line, ':');
    lines.push_back(
        MakeAccount(number, fields[0], fields.size() > 1 ? fields[1] : std::string(), domain));
  }
  return lines;
}

// postmap's: a line that begins with a blank goes on with the one before.
std::vector<ImportLine> ReadVirtual(absl::string_view text, absl::string_view domain) {
  std::vector<std::pair<int, std::string>> logical;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = absl::StripSuffix(line, "\r");
    if (absl::StripAsciiWhitespace(line).empty() || absl::StartsWith(line, "#")) continue;
    if (absl::ascii_isspace(static_cast<unsigned char>(line.front())) && !logical.empty()) {
      absl::StrAppend(&logical.back().second, " ", line);
    } else {
      logical.emplace_back(number, line);
    }
  }
  std::vector<ImportLine> lines;
  for (const auto& [at, line] : logical) {
    std::vector<std::string> words = Words(line);
    std::string name = std::move(words.front());
    words.erase(words.begin());
    const bool is_domain = words.size() == 1 && name.find('@') == std::string::npos &&
                           name.find('.') != std::string::npos &&
                           words.front().find('@') == std::string::npos;
    if (is_domain) {
      lines.push_back({at, Kind::kDomain, std::move(name), "", {}, ""});
    } else {
      lines.push_back(MakeAlias(at, std::move(name), std::move(words), domain));
    }
  }
  return lines;
}

struct Record {
  int line;
  std::vector<std::string> fields;
};

// RFC 4180; a quote that does not end takes all that follows.
std::vector<Record> ReadRecords(absl::string_view text) {
  std::vector<Record> records;
  Record record{1, {""}};
  int line = 1;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') ++line;
    if (quoted) {
      if (c != '"') {
        record.fields.back().push_back(c);
      } else if (i + 1 < text.size() && text[i + 1] == '"') {
        record.fields.back().push_back(text[++i]);
      } else {
        quoted = false;
      }
    } else if (c == '"') {
      quoted = true;
    } else if (c == ',') {
      record.fields.emplace_back();
    } else if (c == '\n') {
      records.push_back(std::exchange(record, Record{line, {""}}));
    } else if (c != '\r') {
      record.fields.back().push_back(c);
    }
  }
  records.push_back(std::move(record));
  std::erase_if(records,
                [](const Record& r) { return r.fields.size() == 1 && r.fields[0].empty(); });
  return records;
}

absl::StatusOr<std::vector<ImportLine>> ReadCsv(absl::string_view text, absl::string_view domain) {
  static const auto* const known =
      new std::vector<std::string>{"address", "password_hash", "targets"};
  const std::vector<Record> records = ReadRecords(text);
  if (records.empty()) return std::vector<ImportLine>();
  const std::vector<std::string>& header = records.front().fields;
  for (const std::string& column : header) {
    if (std::find(known->begin(), known->end(), column) != known->end()) continue;
    const std::string nearest = text::Nearest(column, *known);
    return absl::InvalidArgumentError(
        absl::StrCat("line 1: column \"", column, "\" is none of ", absl::StrJoin(*known, ", "),
                     nearest.empty() ? "" : absl::StrCat("; did you mean \"", nearest, "\"?")));
  }
  if (std::find(header.begin(), header.end(), "address") == header.end()) {
    return absl::InvalidArgumentError("line 1: there is no column \"address\"");
  }
  std::vector<ImportLine> lines;
  for (size_t i = 1; i < records.size(); ++i) {
    const Record& record = records[i];
    if (record.fields.size() != header.size()) {
      lines.push_back(
          {record.line,
           Kind::kAccount,
           record.fields[0],
           "",
           {},
           absl::StrCat("has ", record.fields.size(), " fields, the header ", header.size())});
      continue;
    }
    auto field = [&](absl::string_view column) {
      const auto at = std::find(header.begin(), header.end(), column);
      return at == header.end() ? std::string() : record.fields[at - header.begin()];
    };
    std::vector<std::string> targets = Words(field("targets"));
    std::string hash = field("password_hash");
    if (targets.empty()) {
      lines.push_back(MakeAccount(record.line, field("address"), std::move(hash), domain));
      continue;
    }
    lines.push_back(MakeAlias(record.line, field("address"), std::move(targets), domain));
    if (!hash.empty()) lines.back().fault = "has both a password hash and targets";
  }
  return lines;
}

}  // namespace

absl::StatusOr<std::vector<ImportLine>> ReadImport(absl::string_view format, absl::string_view text,
                                                   absl::string_view domain) {
  absl::StatusOr<std::vector<ImportLine>> lines;
  if (format == "passwd-file") {
    lines = ReadPasswdFile(text, domain);
  } else if (format == "virtual") {
    lines = ReadVirtual(text, domain);
  } else if (format == "csv") {
    lines = ReadCsv(text, domain);
  } else {
    lines = absl::InvalidArgumentError(absl::StrCat("no such format: ", format));
  }
  if (!lines.ok()) return lines;
  std::stable_sort(lines->begin(), lines->end(), [](const ImportLine& a, const ImportLine& b) {
    return static_cast<int>(a.kind) < static_cast<int>(b.kind);
  });
  return lines;
}

}  // namespace postern::ctl
