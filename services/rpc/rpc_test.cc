#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/status.h"
#include "gtest/gtest.h"
#include "proto/postern/config/v1/gateway.pb.h"
#include "proto/postern/config/v1/options.pb.h"
#include "proto/postern/config/v1/process.pb.h"
#include "services/identity/access.h"
#include "services/identity/test_pki.h"
#include "services/rpc/channel.h"
#include "services/rpc/context.h"
#include "services/rpc/limits.h"
#include "services/rpc/probe.h"
#include "services/rpc/server.h"
#include "services/telemetry/metrics.h"

namespace postern::rpc {
namespace {

constexpr char kService[] = "postern.store.v1.MaildropService";

class RpcTest : public testing::Test {
 protected:
  std::unique_ptr<RpcServer> Start(grpc::Service* service, int port = 0) {
    config::v1::RpcListener listener;
    listener.set_port(port);
    auto server = RpcServer::Start(listener, server_tls_, {service});
    EXPECT_TRUE(server.ok()) << server.status();
    return server.ok() ? *std::move(server) : nullptr;
  }

  std::shared_ptr<grpc::Channel> Connect(int port) {
    config::v1::RpcTarget target;
    target.set_target(absl::StrCat("127.0.0.1:", port));
    auto channel = ConnectTo(target, client_tls_, identity::kStoreSvc);
    EXPECT_TRUE(channel.ok()) << channel.status();
    return channel.ok() ? *channel : nullptr;
  }

  identity::TestPki pki_{absl::StrCat(testing::TempDir(), "/rpc_pki")};
  const config::v1::MutualTls server_tls_ = pki_.IssueIdentity(identity::kStoreSvc);
  const config::v1::MutualTls client_tls_ = pki_.IssueIdentity(identity::kGatewayPop3);
};

TEST_F(RpcTest, TraceAndDeadlineTravel) {
  CallContext seen;
  ProbeService service({kService},
                       [&seen](grpc::CallbackServerContext* context, grpc::ByteBuffer* response) {
                         seen = ReadCallContext(*context);
                         *response = ToBuffer("");
                         auto* reactor = context->DefaultReactor();
                         reactor->Finish(grpc::Status::OK);
                         return reactor;
                       });
  const auto server = Start(&service);
  const auto channel = Connect(server->port());

  const CallContext sent{TraceContext::New(), absl::Now() + absl::Seconds(17)};
  grpc::ClientContext context;
  WriteCallContext(sent, &context);
  ASSERT_TRUE(Probe(channel, ProbePath(kService), nullptr, &context).ok());
  EXPECT_EQ(seen.trace.trace_id, sent.trace.trace_id);
  EXPECT_EQ(seen.trace.parent_id, sent.trace.parent_id);
  EXPECT_LT(absl::AbsDuration(seen.deadline - sent.deadline), absl::Seconds(2));

  // A hostile trace header starts a new trace; no deadline stays none.
  grpc::ClientContext bad;
  bad.AddMetadata("traceparent", "00-zz");
  bad.set_deadline(gpr_inf_future(GPR_CLOCK_REALTIME));
  ASSERT_TRUE(Probe(channel, ProbePath(kService), nullptr, &bad).ok());
  EXPECT_EQ(seen.trace.trace_id.size(), 32u);
  EXPECT_NE(seen.trace.trace_id, sent.trace.trace_id);
}

TEST_F(RpcTest, MessagesOverTheLimitAreRefusedAtBothEnds) {
  ProbeService echo({kService},
                    [](grpc::CallbackServerContext* context, grpc::ByteBuffer* response) {
                      *response = ToBuffer(std::string(kMaxRpcMessageOctets + 1, 'x'));
                      auto* reactor = context->DefaultReactor();
                      reactor->Finish(grpc::Status::OK);
                      return reactor;
                    });
  const auto big_server = Start(&echo);
  EXPECT_TRUE(absl::IsResourceExhausted(Probe(Connect(big_server->port()), ProbePath(kService))));

  ProbeService service({kService});
  const auto server = Start(&service);
  const auto channel = Connect(server->port());
  EXPECT_TRUE(
      Probe(channel, ProbePath(kService), nullptr, nullptr, std::string(kMaxRpcMessageOctets, 'x'))
          .ok());
  EXPECT_TRUE(absl::IsResourceExhausted(Probe(channel, ProbePath(kService), nullptr, nullptr,
                                              std::string(kMaxRpcMessageOctets + 1, 'x'))));
}

// A call that waits until it is told to finish.
class HeldCalls {
 public:
  HeldCalls()
      : service_({kService},
                 [this](grpc::CallbackServerContext* context, grpc::ByteBuffer* response) {
                   *response = ToBuffer("done");
                   auto* reactor = new Held(this);
                   absl::MutexLock lock(&mutex_);
                   held_ = reactor;
                   cancelled_ = false;
                   (void)context;
                   return reactor;
                 }) {}

  grpc::Service* service() { return &service_; }
  void WaitForCall() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](Held** held) { return *held != nullptr; }, &held_));
  }
  void Finish() {
    Held* held = nullptr;
    {
      absl::MutexLock lock(&mutex_);
      std::swap(held, held_);
    }
    if (held != nullptr) {
      held->Finish(grpc::Status::OK);
    }
  }
  bool cancelled() {
    absl::MutexLock lock(&mutex_);
    return cancelled_;
  }

 private:
  class Held : public grpc::ServerUnaryReactor {
   public:
    explicit Held(HeldCalls* calls) : calls_(calls) {}
    void OnDone() override { delete this; }
    void OnCancel() override {
      {
        absl::MutexLock lock(&calls_->mutex_);
        calls_->cancelled_ = true;
      }
      calls_->Finish();
    }

   private:
    HeldCalls* const calls_;
  };

  absl::Mutex mutex_;
  Held* held_ = nullptr;
  bool cancelled_ = false;
  ProbeService service_;
};

TEST_F(RpcTest, DrainLetsARunningCallFinishAndTakesNoNewOne) {
  HeldCalls calls;
  auto server = Start(calls.service());
  const auto channel = Connect(server->port());
  absl::Status status;
  std::string answer;
  std::thread caller([&] { status = Probe(channel, ProbePath(kService), &answer); });
  calls.WaitForCall();
  std::thread drain([&] { server->Drain(absl::Seconds(60)); });
  // The drain has begun when a new connection finds nobody.
  while (Probe(Connect(server->port()), "/x/y").code() != absl::StatusCode::kUnavailable) {
  }
  calls.Finish();
  caller.join();
  drain.join();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(answer, "done");
  EXPECT_FALSE(calls.cancelled());
}

TEST_F(RpcTest, DrainCutsOffWhatRunsOverItsGrace) {
  HeldCalls calls;
  auto server = Start(calls.service());
  const auto channel = Connect(server->port());
  absl::Status status;
  std::thread caller([&] { status = Probe(channel, ProbePath(kService)); });
  calls.WaitForCall();
  server->Drain(absl::Milliseconds(50));
  caller.join();
  EXPECT_FALSE(status.ok());
  EXPECT_TRUE(calls.cancelled());
}

TEST_F(RpcTest, FindsARestartedServerByItself) {
  ProbeService service({kService});
  auto server = Start(&service);
  const int port = server->port();
  const auto channel = Connect(port);
  ASSERT_TRUE(Probe(channel, ProbePath(kService)).ok());
  server.reset();
  EXPECT_TRUE(absl::IsUnavailable(Probe(channel, ProbePath(kService))));
  server = Start(&service, port);
  ASSERT_NE(server, nullptr);
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  const absl::Time before = absl::Now();
  EXPECT_TRUE(Probe(channel, ProbePath(kService), nullptr, &context).ok());
  EXPECT_LT(absl::Now() - before, absl::Seconds(10));
}

TEST_F(RpcTest, ReconnectsBeforeItIsAsked) {
  ProbeService service({kService});
  auto server = Start(&service);
  const int port = server->port();
  const auto channel = Connect(port);
  ASSERT_TRUE(Probe(channel, ProbePath(kService)).ok());
  server.reset();
  server = Start(&service, port);
  // No call and no try_to_connect: only the channel's own wish to be warm.
  const auto deadline = absl::ToChronoTime(absl::Now() + absl::Seconds(20));
  grpc_connectivity_state state = channel->GetState(false);
  while (state != GRPC_CHANNEL_READY && channel->WaitForStateChange(state, deadline)) {
    state = channel->GetState(false);
  }
  EXPECT_EQ(state, GRPC_CHANNEL_READY);
}

TEST_F(RpcTest, CallsAreCountedAndTimed) {
  ProbeService service({"postern.store.v1.StoreAdminService"});
  const auto server = Start(&service);
  config::v1::RpcTarget target;
  target.set_target(absl::StrCat("127.0.0.1:", server->port()));
  const auto channel =
      ConnectTo(target, pki_.IssueIdentity(identity::kPosternctl), identity::kStoreSvc);
  ASSERT_TRUE(channel.ok());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(Probe(*channel, ProbePath("postern.store.v1.StoreAdminService")).ok());
  }
  EXPECT_TRUE(absl::IsUnimplemented(Probe(*channel, "/postern.store.v1.StoreAdminService/MadeUp")));
  // The server counts when it is done with a call, which may be after its answer arrived.
  server->Drain(absl::Seconds(10));
  const std::string metrics = telemetry::RenderMetrics();
  EXPECT_NE(metrics.find("postern_rpc_server_calls_total{code=\"OK\",method=\"Probe\",service="
                         "\"postern.store.v1.StoreAdminService\"} 3\n"),
            std::string::npos)
      << metrics;
  EXPECT_NE(metrics.find("postern_rpc_server_seconds_count{method=\"Probe\",service="
                         "\"postern.store.v1.StoreAdminService\"} 3\n"),
            std::string::npos);
  // A caller's own words are no label.
  EXPECT_EQ(metrics.find("MadeUp"), std::string::npos) << metrics;
  EXPECT_NE(metrics.find("postern_rpc_server_calls_total{code=\"UNIMPLEMENTED\",method=\"unknown\","
                         "service=\"unknown\"} 1\n"),
            std::string::npos)
      << metrics;
}

std::string Write(absl::string_view name, absl::string_view contents) {
  std::string file = absl::StrCat(testing::TempDir(), "/", name);
  std::ofstream(file) << contents;
  return file;
}

TEST_F(RpcTest, AFileAtFaultIsNamed) {
  const identity::TestPki other(absl::StrCat(testing::TempDir(), "/rpc_other_pki"));
  const std::string other_key = other.IssueIdentity("store-svc").private_key_file();
  const std::string garbage = Write("garbage.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
  const std::string empty = Write("empty.pem", "");
  const std::string absent = absl::StrCat(testing::TempDir(), "/absent.pem");
  const struct {
    const char* setting;
    std::function<void(config::v1::MutualTls*, const std::string&)> set;
    std::vector<std::string> bad;
  } cases[] = {
      {"certificate_file",
       [](config::v1::MutualTls* tls, const std::string& f) { tls->set_certificate_file(f); },
       {absent, garbage, empty, testing::TempDir(), ""}},
      {"private_key_file",
       [](config::v1::MutualTls* tls, const std::string& f) { tls->set_private_key_file(f); },
       {absent, garbage, empty, other_key, server_tls_.certificate_file(), ""}},
      {"ca_file",
       [](config::v1::MutualTls* tls, const std::string& f) { tls->set_ca_file(f); },
       {absent, garbage, empty, server_tls_.private_key_file(), ""}},
  };
  config::v1::RpcTarget target;
  target.set_target("127.0.0.1:1");
  for (const auto& c : cases) {
    for (const std::string& file : c.bad) {
      config::v1::MutualTls tls = server_tls_;
      c.set(&tls, file);
      for (const absl::Status& status :
           {RpcServer::Start(config::v1::RpcListener(), tls, {}).status(),
            ConnectTo(target, tls, identity::kStoreSvc).status()}) {
        EXPECT_TRUE(absl::IsInvalidArgument(status)) << c.setting << " " << file << " " << status;
        EXPECT_TRUE(absl::StrContains(status.message(), absl::StrCat("process.mtls.", c.setting)))
            << status;
        EXPECT_TRUE(absl::StrContains(status.message(), file)) << status;
      }
    }
  }
}

TEST_F(RpcTest, APortOrAddressAtFaultIsNamed) {
  ProbeService service({kService});
  const auto server = Start(&service);
  config::v1::RpcListener taken;
  taken.set_port(server->port());
  absl::Status status = RpcServer::Start(taken, server_tls_, {}).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_TRUE(absl::StrContains(
      status.message(), absl::StrCat("127.0.0.1:", server->port(), ": Address already in use")))
      << status;
  config::v1::RpcListener elsewhere;
  elsewhere.set_address("192.0.2.1");  // RFC 5737: nobody's
  status = RpcServer::Start(elsewhere, server_tls_, {}).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "192.0.2.1:0")) << status;
}

TEST(RpcStatusTest, CodesAreTheSame) {
  for (int code = 0; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "as it is");
    EXPECT_EQ(static_cast<int>(ToGrpc(status).error_code()), code);
    EXPECT_EQ(FromGrpc(ToGrpc(status)), status);
  }
}

// An upload or an open maildrop is never cut by the age of its connection.
TEST(RpcListenerTest, TheGraceOfAgeIsLongerThanAnySession) {
  const auto* listener = config::v1::Listener::descriptor();
  const google::protobuf::FieldDescriptor& timeout =
      *listener->FindFieldByName("session_timeout_seconds");
  EXPECT_GT(config::v1::RpcListener().max_connection_age_grace_seconds(),
            timeout.options().GetExtension(config::v1::rules).max());
}

}  // namespace
}  // namespace postern::rpc
