"""Postern's rules: the project's warnings and defaults in one place."""

_COPTS = [
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-missing-field-initializers",
]

def postern_cc_library(name, copts = [], **kwargs):
    """A library; private unless it says otherwise."""
    native.cc_library(name = name, copts = _COPTS + copts, linkstatic = True, **kwargs)

def postern_cc_binary(name, copts = [], deps = [], **kwargs):
    native.cc_binary(
        name = name,
        copts = _COPTS + copts,
        deps = deps + ["//bazel:executable"],
        **kwargs
    )

def postern_cc_test(name, copts = [], deps = [], size = "small", **kwargs):
    """A GoogleTest test with its own main from gtest_main.

    Not optimised, though what it tests is: GoogleTest's macros take a third to half of the time to compile.
    """
    native.cc_test(
        name = name,
        size = size,
        copts = _COPTS + ["-O0", "-U_FORTIFY_SOURCE"] + copts,
        deps = deps + ["@system//:gtest_main", "//bazel:executable"],
        **kwargs
    )

def postern_fuzz_test(name, srcs, corpus, deps = [], **kwargs):
    """A libFuzzer target.

    Under --config=fuzz it is a fuzzer binary; in every other configuration a test that replays the
    committed corpus, so that what a fuzzer once found stays found.
    """
    native.cc_test(
        name = name,
        size = "small",
        srcs = srcs + select({
            "//bazel:fuzz": [],
            "//conditions:default": ["//tests/fuzz:replay_main.cc"],
        }),
        args = [native.package_name() + "/" + corpus],
        copts = _COPTS,
        data = native.glob([corpus + "/**"]),
        linkopts = select({
            "//bazel:fuzz": ["-fsanitize=fuzzer"],
            "//conditions:default": [],
        }),
        tags = ["fuzz"],
        deps = deps,
        **kwargs
    )

def _generated(srcs, suffixes):
    return [src[:-len(".proto")] + suffix for src in srcs for suffix in suffixes]

def postern_proto_library(name, srcs, deps = [], grpc = False, visibility = None):
    """C++ for .proto files: `name` holds the messages and, with grpc, `name`_grpc the services.

    Only adapters depend on `name`_grpc: gRPC's headers are heavy.

    Args:
      name: the target.
      srcs: .proto files of this package.
      deps: other postern_proto_library targets.
      grpc: whether the files declare services.
      visibility: as everywhere.
    """
    native.filegroup(
        name = name + "_protos",
        srcs = srcs + [dep + "_protos" for dep in deps],
        visibility = ["//visibility:public"],
    )
    paths = " ".join(["$(execpath %s)" % src for src in srcs])
    native.genrule(
        name = name + "_pb",
        srcs = srcs + [dep + "_protos" for dep in deps],
        outs = _generated(srcs, [".pb.h", ".pb.cc"]),
        cmd = "protoc --proto_path=. --cpp_out=$(GENDIR) " + paths,
    )
    native.cc_library(
        name = name,
        srcs = _generated(srcs, [".pb.cc"]),
        hdrs = _generated(srcs, [".pb.h"]),
        copts = ["-O1"],
        linkstatic = True,
        visibility = visibility,
        deps = deps + ["@system//:protobuf"],
    )
    if grpc:
        native.genrule(
            name = name + "_grpc_pb",
            srcs = srcs + [dep + "_protos" for dep in deps],
            outs = _generated(srcs, [".grpc.pb.h", ".grpc.pb.cc"]),
            cmd = "protoc --proto_path=. --grpc_out=$(GENDIR) --plugin=protoc-gen-grpc=/usr/bin/grpc_cpp_plugin " + paths,
        )
        native.cc_library(
            name = name + "_grpc",
            srcs = _generated(srcs, [".grpc.pb.cc"]),
            hdrs = _generated(srcs, [".grpc.pb.h"]),
            copts = ["-O1"],
            linkstatic = True,
            visibility = visibility,
            deps = [
                ":" + name,
                "@system//:grpcpp",
            ],
        )
