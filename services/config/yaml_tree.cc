#include "services/config/yaml_tree.h"

#include <cstddef>
#include <cstdint>
#include <exception>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "services/text/utf8.h"
#include "yaml-cpp/eventhandler.h"
#include "yaml-cpp/exceptions.h"
#include "yaml-cpp/mark.h"
#include "yaml-cpp/parser.h"

namespace postern::config {
namespace {

constexpr size_t kMaxDepth = 32;
constexpr size_t kMaxNodes = 100000;

absl::Status At(absl::string_view file, int line, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(file, ":", line, ": ", why));
}

// Leaves yaml-cpp's parser; ParseYaml turns it into a status.
struct Refused {
  int line;
  std::string why;
};

int LineOf(const YAML::Mark& mark) { return mark.line + 1; }

// Builds the tree from the parser's events: yaml-cpp's own nodes would expand aliases, and forget
// where a repeated key stood.
class TreeBuilder final : public YAML::EventHandler {
 public:
  YamlNode TakeRoot() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0) {
      throw Refused{LineOf(mark), "a second document starts; expected one"};
    }
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Check(mark, "", anchor);
    Add({.kind = YamlNode::Kind::kNull, .line = LineOf(mark)});
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    throw Refused{LineOf(mark), "aliases (*name) are not taken here"};
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    Check(mark, tag, anchor);
    // yaml-cpp's tag of what was quoted.
    Add({.kind = YamlNode::Kind::kScalar,
         .line = LineOf(mark),
         .text = value,
         .quoted = tag == "!"});
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, YamlNode::Kind::kSequence);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, YamlNode::Kind::kMapping);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapEnd() override { Close(); }

 private:
  // A collection whose end has not come yet.
  struct Pending {
    YamlNode node;
    bool has_key = false;
    YamlEntry entry;
  };

  static void Check(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != 0) {
      throw Refused{LineOf(mark), "anchors (&name) are not taken here"};
    }
    if (!tag.empty() && tag != "?" && tag != "!") {
      throw Refused{LineOf(mark), "tags (!name) are not taken here"};
    }
  }

  void Open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
            YamlNode::Kind kind) {
    Check(mark, tag, anchor);
    if (pending_.size() == kMaxDepth) {
      throw Refused{LineOf(mark), absl::StrCat("nested deeper than ", kMaxDepth)};
    }
    if (ExpectsKey()) {
      throw Refused{LineOf(mark), "a key is a mapping or a list; expected a name"};
    }
    Pending pending;
    pending.node.kind = kind;
    pending.node.line = LineOf(mark);
    pending_.push_back(std::move(pending));
  }

  void Close() {
    YamlNode node = std::move(pending_.back().node);
    pending_.pop_back();
    Add(std::move(node));
  }

  bool ExpectsKey() const {
    return !pending_.empty() && pending_.back().node.kind == YamlNode::Kind::kMapping &&
           !pending_.back().has_key;
  }

  void Add(YamlNode node) {
    if (++nodes_ > kMaxNodes) {
      throw Refused{node.line, absl::StrCat("more than ", kMaxNodes, " values")};
    }
    if (pending_.empty()) {
      root_ = std::move(node);
      return;
    }
    Pending& parent = pending_.back();
    if (parent.node.kind == YamlNode::Kind::kSequence) {
      parent.node.items.push_back(std::move(node));
    } else if (!parent.has_key) {
      if (node.kind != YamlNode::Kind::kScalar) {
        throw Refused{node.line, "a key is empty; expected a name"};
      }
      parent.entry.key = std::move(node.text);
      parent.entry.line = node.line;
      parent.has_key = true;
    } else {
      parent.entry.value = std::move(node);
      if (parent.entry.value.kind == YamlNode::Kind::kNull) {
        // yaml-cpp says where the next thing stands.
        parent.entry.value.line = parent.entry.line;
      }
      parent.node.entries.push_back(std::move(parent.entry));
      parent.entry = YamlEntry();
      parent.has_key = false;
    }
  }

  YamlNode root_;
  std::vector<Pending> pending_;
  size_t nodes_ = 0;
  int documents_ = 0;
};

// What yaml-cpp would take in silence or answer with a riddle.
absl::Status CheckText(absl::string_view yaml, absl::string_view file) {
  if (yaml.size() > kMaxYamlOctets) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": is larger than ", kMaxYamlOctets, " octets"));
  }
  int number = 0;
  for (absl::string_view line : absl::StrSplit(yaml, '\n')) {
    ++number;
    const size_t indentation = line.find_first_not_of(' ');
    if (indentation != absl::string_view::npos && line[indentation] == '\t') {
      return At(file, number, "a tab indents; expected spaces");
    }
    while (!line.empty()) {
      const size_t length = text::Utf8Length(line);
      if (length == 0) {
        return At(file, number, "is not UTF-8");
      }
      const auto octet = static_cast<uint8_t>(line[0]);
      if ((octet < 0x20 && octet != '\t' && octet != '\r') || octet == 0x7F) {
        return At(file, number, "holds a control character");
      }
      line.remove_prefix(length);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<YamlNode> ParseYaml(absl::string_view yaml, absl::string_view file) {
  if (absl::Status status = CheckText(yaml, file); !status.ok()) {
    return status;
  }
  TreeBuilder builder;
  try {
    std::istringstream in{std::string(yaml)};
    YAML::Parser parser(in);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Refused& refused) {
    return At(file, refused.line, refused.why);
  } catch (const YAML::Exception& e) {
    return At(file, e.mark.is_null() ? 1 : LineOf(e.mark), absl::StrCat("not YAML: ", e.msg));
  } catch (const std::exception& e) {
    return At(file, 1, absl::StrCat("not YAML: ", e.what()));
  }
  YamlNode root = builder.TakeRoot();
  if (root.kind == YamlNode::Kind::kNull) {
    root.kind = YamlNode::Kind::kMapping;
  }
  return root;
}

}  // namespace postern::config
