"""System libraries as Bazel targets, through pkg-config."""

def _flags(repository_ctx, what, packages):
    result = repository_ctx.execute(["pkg-config", what] + packages)
    if result.return_code != 0:
        fail("pkg-config %s %s: %s\nInstall the build's packages with ./dev." %
             (what, " ".join(packages), result.stderr))
    return [f for f in result.stdout.strip().split(" ") if f]

def _library(name, linkopts, defines):
    return """cc_library(
    name = "{name}",
    defines = {defines},
    linkopts = {linkopts},
)
""".format(name = name, linkopts = repr(linkopts), defines = repr(defines))

def _pkg_config_repository_impl(repository_ctx):
    targets = ['package(default_visibility = ["//visibility:public"])\n']
    for name, packages in repository_ctx.attr.packages.items():
        linkopts = _flags(repository_ctx, "--libs", packages)

        # Only -D flags are of interest: every package installs its headers in the compiler's own path.
        defines = [f[2:] for f in _flags(repository_ctx, "--cflags-only-other", packages) if f.startswith("-D")]
        targets.append(_library(name, linkopts, defines))
    for name, linkopts in repository_ctx.attr.link_only.items():
        targets.append(_library(name, linkopts, []))
    repository_ctx.file("BUILD", "\n".join(targets))

pkg_config_repository = repository_rule(
    implementation = _pkg_config_repository_impl,
    attrs = {
        "link_only": attr.string_list_dict(doc = "Target name to link flags, for packages without a .pc file."),
        "packages": attr.string_list_dict(doc = "Target name to the pkg-config packages it stands for."),
    },
    environ = ["PKG_CONFIG_PATH"],
    local = True,
)
