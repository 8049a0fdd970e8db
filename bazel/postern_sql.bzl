"""SQL files as C++ constants, so that a program carries its migrations."""

def _constant(src):
    stem = src.split("/")[-1][:-len(".sql")]
    return "k" + "".join([part.capitalize() for part in stem.split("_")])

def postern_embed_sql(name, srcs, namespace, visibility = None):
    """A library whose header `<package>/<name>.h` holds each SQL file as an absl::string_view.

    migrations/0001_initial.sql becomes `k0001Initial` in `namespace`; list them in order for
    storage::Migrate:

        constexpr storage::Migration kMigrations[] = {{1, sql::k0001Initial}, {2, sql::k0002Quota}};

    Args:
      name: the target, and the header's name.
      srcs: .sql files. A migration that was released is never edited: a change is a new file.
      namespace: the C++ namespace, "postern::store::sql".
      visibility: as everywhere.
    """
    guard = "_".join([native.package_name(), name, "H"]).upper().replace("/", "_").replace("-", "_")
    commands = [
        "printf '#ifndef %s_\\n#define %s_\\n\\n' " + guard + " " + guard,
        "printf '#include \"absl/strings/string_view.h\"\\n\\nnamespace %s {\\n\\n' " + namespace,
    ]
    for src in srcs:
        commands += [
            "printf 'inline constexpr absl::string_view %s = R\"sql(' " + _constant(src),
            "cat $(execpath %s)" % src,
            "printf ')sql\";\\n\\n'",
        ]
    commands.append("printf '}  // namespace %s\\n\\n#endif  // %s_\\n' " + namespace + " " + guard)
    native.genrule(
        name = name + "_header",
        srcs = srcs,
        outs = [name + ".h"],
        cmd = "{ " + "; ".join(commands) + "; } > $@",
    )
    native.cc_library(
        name = name,
        hdrs = [name + ".h"],
        visibility = visibility,
        deps = ["@system//:absl"],
    )
