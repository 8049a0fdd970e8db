#include "store-svc/testing/store_calls.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "services/body/piece.h"
#include "services/rpc/context.h"

namespace postern::store {
namespace {

// Longer than anything here takes; a test that hangs ends.
void Limit(grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
}

}  // namespace

std::string PrefixOf(absl::string_view mailbox_id) {
  return absl::StrCat("Return-Path: <sender@x.test>\r\nDelivered-To: ", mailbox_id,
                      "@example.test\r\nX-Original-To: ", mailbox_id, "+x@example.test\r\n");
}

v1::DeliveryHeader MakeHeader(absl::string_view delivery_id,
                              const std::vector<std::string>& mailbox_ids) {
  v1::DeliveryHeader header;
  header.set_delivery_id(std::string(delivery_id));
  header.mutable_delivery_id()->resize(16);
  header.set_envelope_sender("sender@x.test");
  for (const std::string& id : mailbox_ids) {
    v1::DeliveryRecipient& recipient = *header.add_recipients();
    recipient.set_mailbox_id(id);
    recipient.set_address(id + "@example.test");
    recipient.set_original_recipient(id + "+x@example.test");
  }
  return header;
}

absl::StatusOr<v1::DeliverResponse> Deliver(grpc::Channel& channel, v1::DeliveryHeader header,
                                            absl::string_view body) {
  const auto stub = v1::DeliveryService::NewStub(
      std::shared_ptr<grpc::ChannelInterface>(&channel, [](grpc::ChannelInterface*) {}));
  grpc::ClientContext context;
  Limit(context);
  v1::DeliverRequest request;
  *request.mutable_header() = std::move(header);
  request.set_body(std::string(body));
  v1::DeliverResponse response;
  const absl::Status status = rpc::FromGrpc(stub->Deliver(&context, request, &response));
  if (!status.ok()) return status;
  return response;
}

absl::StatusOr<v1::DeliverResponse> DeliverStream(grpc::Channel& channel,
                                                  const v1::DeliveryHeader& header,
                                                  absl::string_view body, size_t piece_octets) {
  const auto stub = v1::DeliveryService::NewStub(
      std::shared_ptr<grpc::ChannelInterface>(&channel, [](grpc::ChannelInterface*) {}));
  grpc::ClientContext context;
  Limit(context);
  v1::DeliverResponse response;
  const auto writer = stub->DeliverStream(&context, &response);
  v1::DeliverStreamRequest request;
  *request.mutable_header() = header;
  bool open = writer->Write(request);
  for (size_t at = 0; open && at < body.size(); at += piece_octets) {
    request.set_chunk(std::string(body.substr(at, piece_octets)));
    open = writer->Write(request);
  }
  request.set_body_octets(body.size());
  if (open) writer->Write(request);
  writer->WritesDone();
  const absl::Status status = rpc::FromGrpc(writer->Finish());
  if (!status.ok()) return status;
  return response;
}

OpenMaildrop::OpenMaildrop(const std::shared_ptr<grpc::Channel>& channel, std::string token,
                           std::string nonce)
    : stub_(v1::MaildropService::NewStub(channel)),
      token_(std::move(token)),
      nonce_(std::move(nonce)) {}

absl::Status OpenMaildrop::Open(uint64_t resume_fence) {
  context_ = std::make_unique<grpc::ClientContext>();
  Limit(*context_);
  stream_ = stub_->Open(context_.get());
  v1::OpenRequest request;
  request.set_token(token_);
  request.set_session_nonce(nonce_);
  request.set_resume_fence(resume_fence);
  stream_->Write(request);
  entries_.clear();
  v1::OpenResponse response;
  do {
    if (!stream_->Read(&response)) return rpc::FromGrpc(stream_->Finish());
    if (response.has_lease()) lease_ = response.lease();
    if (response.page().uids_size() != response.page().sizes_size()) {
      return absl::InternalError("as many uids as sizes");
    }
    for (int i = 0; i < response.page().uids_size(); ++i) {
      entries_.emplace_back(response.page().uids(i), response.page().sizes(i));
    }
  } while (!response.page().last());
  return absl::OkStatus();
}

absl::Status OpenMaildrop::Close() {
  stream_->WritesDone();
  return AwaitEnd();
}

absl::Status OpenMaildrop::AwaitEnd() {
  v1::OpenResponse response;
  if (stream_->Read(&response)) return absl::InternalError("more after the last page");
  return rpc::FromGrpc(stream_->Finish());
}

absl::StatusOr<std::string> OpenMaildrop::Retrieve(uint64_t uid,
                                                   std::optional<uint32_t> body_lines) {
  grpc::ClientContext context;
  Limit(context);
  v1::RetrieveRequest request;
  request.set_token(token_);
  request.set_session_nonce(nonce_);
  request.set_fence(lease_.fence());
  request.set_uid(uid);
  if (body_lines.has_value()) request.set_body_lines(*body_lines);
  const auto reader = stub_->Retrieve(&context, request);
  std::string message;
  v1::RetrieveResponse response;
  while (reader->Read(&response)) {
    if (response.chunk().size() > kMaxPieceOctets) {
      return absl::InternalError("a piece over 256 KiB");
    }
    message += response.chunk();
  }
  const absl::Status status = rpc::FromGrpc(reader->Finish());
  if (!status.ok()) return status;
  return message;
}

void OpenMaildrop::StartFetch(const v1::OpenRequest::Fetch& fetch) {
  v1::OpenRequest request;
  *request.mutable_fetch() = fetch;
  stream_->Write(request);
}

absl::StatusOr<v1::OpenResponse::Fetched> OpenMaildrop::AwaitFetched() {
  v1::OpenResponse response;
  if (!stream_->Read(&response)) return rpc::FromGrpc(stream_->Finish());
  return response.fetched();
}

absl::Status OpenMaildrop::Commit(const std::vector<uint64_t>& uids) {
  grpc::ClientContext context;
  Limit(context);
  v1::CommitRequest request;
  request.set_token(token_);
  request.set_session_nonce(nonce_);
  request.set_fence(lease_.fence());
  for (const uint64_t uid : uids) request.add_deleted_uids(uid);
  v1::CommitResponse response;
  return rpc::FromGrpc(stub_->Commit(&context, request, &response));
}

}  // namespace postern::store
