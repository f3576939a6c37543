// Makes dist/cli/main.js: the compiled command line, dist/cli/program.js, in a few files instead of two hundred.
// A tenth of a second goes into finding, reading and linking so many. docs/design/start.md
import { chmodSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { rolldown } from "rolldown";

/** A module that so many commands use is in the file that all of them load. */
const COMMANDS_OF_CORE = 4;

/** Loaded at run time by who needs them: addons, WebAssembly, and what only a terminal sees. */
const EXTERNAL = [/^@napi-rs\//, "hash-wasm", "cli-progress"];

const LICENSES = "dist/cli/bundle/licenses.txt";

/** Bundles what `tsc` left in dist/. */
export async function bundle() {
  rmSync("dist/cli/bundle", { recursive: true, force: true });
  const build = await rolldown({
    input: { main: "dist/cli/program.js" },
    platform: "node",
    external: EXTERNAL,
  });
  const { output } = await build.write({
    dir: "dist/cli",
    format: "esm",
    // Names and lines stay: a stack trace in a report must tell something. Minifying gains 1 to 10 ms more.
    minify: false,
    comments: false,
    chunkFileNames: "bundle/[name].js",
    codeSplitting: {
      groups: [
        // What main.js itself shares with the rest is apart from it: main.js waits for the command, and a
        // command that waited for main.js would wait for ever.
        {
          name: "start",
          tags: ["$initial"],
          test: (id) => !/[\\/]cli[\\/]program\.js$/.test(id),
          priority: 2,
        },
        { name: "core", test: (id) => !/classic/.test(id), minShareCount: COMMANDS_OF_CORE, priority: 1 },
        { name: "classic", test: /classic/, minShareCount: 2 },
      ],
    },
  });
  await build.close();
  chmodSync("dist/cli/main.js", 0o755);
  writeFileSync(LICENSES, licenses(output));
}

/** The licenses of the packages in the bundle: they ask to be passed on with it. */
function licenses(output) {
  const packages = new Set();
  for (const { moduleIds } of output) {
    for (const id of moduleIds ?? []) {
      const found = /^.*[\\/]node_modules[\\/](?:@[^\\/]+[\\/])?[^\\/]+/.exec(id);
      if (found !== null) packages.add(found[0]);
    }
  }
  const texts = [...packages]
    .sort((a, b) => (a < b ? -1 : 1))
    .map((directory) => {
      const { name, version } = JSON.parse(readFileSync(join(directory, "package.json"), "utf8"));
      const file = readdirSync(directory).find((entry) => /^licen[cs]e/i.test(entry));
      if (file === undefined) throw new Error(`${name} has no license file to pass on`);
      return `${name} ${version}\n\n${readFileSync(join(directory, file), "utf8").trim()}\n`;
    });
  return `The files of this directory contain these packages.\n\n${texts.join(`\n${"-".repeat(80)}\n\n`)}`;
}
