#include "services/protocol/mail/header_editor.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace postern::mail {
namespace {

constexpr absl::string_view kRemoved[] = {"Bcc", "Return-Path"};

// With additions as the submission of a message has them, or without.
std::string Edited(absl::string_view message, size_t piece, bool additions) {
  HeaderEdits edits;
  edits.removed = kRemoved;
  if (additions) edits.added = {{"Date", "Date: d\r\n"}, {"Message-ID", "Message-ID: <m>\r\n"}};
  HeaderEditor editor(std::move(edits));
  std::string out;
  while (!message.empty()) {
    const absl::string_view input = message.substr(0, piece);
    const size_t most = out.size() + input.size() + editor.max_growth();
    const absl::string_view body = editor.Edit(input, &out);
    absl::StrAppend(&out, body);
    EXPECT_LE(out.size(), most);
    message.remove_prefix(input.size());
  }
  const size_t most = out.size() + editor.max_growth();
  editor.End(&out);
  EXPECT_LE(out.size(), most);
  EXPECT_EQ(editor.max_growth(), 0u);
  return out;
}

struct Case {
  std::string message;
  std::string edited;
};

void Expect(const Case& c, bool additions) {
  for (size_t piece = 1; piece <= std::max<size_t>(c.message.size(), 1); ++piece) {
    ASSERT_EQ(Edited(c.message, piece, additions), c.edited) << c.message << " by " << piece;
  }
}

TEST(HeaderEditorTest, RemovesWholeFieldsFromTheHeaderAlone) {
  const Case kCases[] = {
      {"", ""},
      {"\r\n", "\r\n"},
      {"\r\nBcc: a\r\n", "\r\nBcc: a\r\n"},
      {"A: b\r\n", "A: b\r\n"},
      {"A: b\r\n\r\nBcc: a\r\n", "A: b\r\n\r\nBcc: a\r\n"},
      {"Bcc: a\r\nA: b\r\n\r\n", "A: b\r\n\r\n"},
      {"A: b\r\nbCC:\r\n\r\n", "A: b\r\n\r\n"},
      {"Bcc: a,\r\n b,\r\n\tc\r\n \r\nA: b\r\n c\r\n\r\n", "A: b\r\n c\r\n\r\n"},
      {"Bcc \t : a\r\nReturn-path :<>\r\n\r\nx\r\n", "\r\nx\r\n"},
      {"Bc: a\r\nBccc: a\r\nX-Bcc: a\r\nBcc-X : a\r\n\r\n",
       "Bc: a\r\nBccc: a\r\nX-Bcc: a\r\nBcc-X : a\r\n\r\n"},
      // A message in the message keeps what it has.
      {"Content-Type: message/rfc822\r\n\r\nBcc: a\r\n\r\nx\r\n",
       "Content-Type: message/rfc822\r\n\r\nBcc: a\r\n\r\nx\r\n"},
      {"A: Bcc: a\r\n Bcc: a\r\n\r\n", "A: Bcc: a\r\n Bcc: a\r\n\r\n"},
  };
  for (const Case& c : kCases) Expect(c, /*additions=*/false);
}

TEST(HeaderEditorTest, WhatIsNoHeaderIsBody) {
  const Case kCases[] = {
      {"hello world\r\n", "\r\nhello world\r\n"},
      {"hello\r\nA: b\r\n\r\nBcc: a\r\n", "\r\nhello\r\nA: b\r\n\r\nBcc: a\r\n"},
      {" A: b\r\nBcc: a\r\n\r\n", "\r\n A: b\r\nBcc: a\r\n\r\n"},
      {"\t\r\n", "\r\n\t\r\n"},
      {": a\r\n", "\r\n: a\r\n"},
      {"two words: a\r\n", "\r\ntwo words: a\r\n"},
      {"\xef\xbb\xbf"
       "A: b\r\n",
       "\r\n\xef\xbb\xbf"
       "A: b\r\n"},
      {"Bcc: a\r\n b\r\nhello\r\n", "\r\nhello\r\n"},
      {"Bcc\r\n", "\r\nBcc\r\n"},
      // As it is, and what follows is body to us.
      {"A: b\r\nhello\r\nBcc: a\r\n", "A: b\r\nhello\r\nBcc: a\r\n"},
  };
  for (const Case& c : kCases) Expect(c, /*additions=*/false);
}

TEST(HeaderEditorTest, AMailboxsFromLineBecomesAField) {
  const Case kCases[] = {
      {"From a@b Tue Nov 24 23:12:54 2026\r\nA: b\r\n\r\n",
       "X-Mailbox-Line: From a@b Tue Nov 24 23:12:54 2026\r\nA: b\r\n\r\n"},
      {">>From a\r\nBcc: b\r\n\r\n", "X-Mailbox-Line: >>From a\r\n\r\n"},
      {"From now on\r\nall is well\r\n", "X-Mailbox-Line: From now on\r\n\r\nall is well\r\n"},
      {"From a\r\n b\r\n", "X-Mailbox-Line: From a\r\n\r\n b\r\n"},
      {"From a\r\nFrom b\r\n", "X-Mailbox-Line: From a\r\n\r\nFrom b\r\n"},
      {"A: b\r\nFrom a\r\n", "A: b\r\nFrom a\r\n"},
      {"From : a\r\n\r\n", "From : a\r\n\r\n"},
      {"From\r\n", "\r\nFrom\r\n"},
  };
  for (const Case& c : kCases) Expect(c, /*additions=*/false);
}

TEST(HeaderEditorTest, AddsWhatIsAbsent) {
  const Case kCases[] = {
      {"", "Date: d\r\nMessage-ID: <m>\r\n"},
      {"A: b\r\n", "A: b\r\nDate: d\r\nMessage-ID: <m>\r\n"},
      {"A: b\r\n\r\nDate: x\r\n", "A: b\r\nDate: d\r\nMessage-ID: <m>\r\n\r\nDate: x\r\n"},
      {"\r\nx\r\n", "Date: d\r\nMessage-ID: <m>\r\n\r\nx\r\n"},
      {"DATE : x\r\n\r\n", "DATE : x\r\nMessage-ID: <m>\r\n\r\n"},
      {"Message-Id:\r\n <x>\r\ndate: x\r\n\r\n", "Message-Id:\r\n <x>\r\ndate: x\r\n\r\n"},
      {"hello\r\n", "Date: d\r\nMessage-ID: <m>\r\n\r\nhello\r\n"},
      {" x\r\n", "Date: d\r\nMessage-ID: <m>\r\n\r\n x\r\n"},
      {"From a\r\nDate: x\r\n\r\n", "X-Mailbox-Line: From a\r\nDate: x\r\nMessage-ID: <m>\r\n\r\n"},
  };
  for (const Case& c : kCases) Expect(c, /*additions=*/true);
}

// RFC 5322 2.1.1.
TEST(HeaderEditorTest, ANameEndsWithinALine) {
  const std::string longest(998, 'a');
  EXPECT_EQ(Edited(longest + ": b\r\n\r\n", 7, false), longest + ": b\r\n\r\n");
  EXPECT_EQ(Edited(longest + "a: b\r\n\r\n", 7, false), "\r\n" + longest + "a: b\r\n\r\n");
  const std::string blanks(995, ' ');
  EXPECT_EQ(Edited("Bcc" + blanks + ": b\r\n\r\n", 7, false), "\r\n");
  EXPECT_EQ(Edited("Bcc" + blanks + " : b\r\n\r\n", 7, false), "\r\nBcc" + blanks + " : b\r\n\r\n");
}

TEST(HeaderEditorTest, AHeaderOfAnyLength) {
  std::string kept;
  std::string message;
  for (int i = 0; i < 5000; ++i) {
    const std::string field = absl::StrCat("X-", i, ": ", std::string(100, 'x'), "\r\n y\r\n");
    absl::StrAppend(&kept, field);
    absl::StrAppend(&message, field, "Bcc: ", std::string(100, 'y'), "\r\n z\r\n");
  }
  EXPECT_EQ(Edited(message + "\r\n", 16384, false), kept + "\r\n");
}

}  // namespace
}  // namespace postern::mail
