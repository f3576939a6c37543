// Makes the tarballs to publish: godwit itself and the native package of the machine this runs on.
//
//   npm run build && node scripts/pack.mjs --out DIR
//
// The repository's package.json does not name the platform packages: as long as they are not published
// at this version, `npm ci` could not find them. They are written in here, into the copy that is packed.
import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { commandLine } from "./command-line.mjs";

const BINARY = "native/build/Release/godwit_native.node";

/** The platform packages, by name: directory in npm/ and package.json. */
export function platformPackages() {
  return new Map(
    readdirSync("npm").map((directory) => {
      const manifest = JSON.parse(readFileSync(join("npm", directory, "package.json"), "utf8"));
      return [manifest.name, { directory: join("npm", directory), manifest }];
    }),
  );
}

/** Name of the platform package for the machine this runs on. */
export function platformPackageName() {
  const isMusl = process.report.getReport().header.glibcVersionRuntime === undefined;
  return `@godwit/native-${process.platform}-${process.arch}${isMusl ? "-musl" : ""}`;
}

/** Packs into `out`; returns the paths of the tarballs, `native` undefined where no addon was built. */
export function pack(out) {
  mkdirSync(out, { recursive: true });
  const staging = mkdtempSync(join(tmpdir(), "godwit-pack-"));
  try {
    return { main: packMain(join(staging, "godwit"), out), native: packNative(join(staging, "native"), out) };
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
}

function packMain(staging, out) {
  const manifest = JSON.parse(readFileSync("package.json", "utf8"));
  const native = Object.fromEntries([...platformPackages().keys()].map((name) => [name, manifest.version]));
  const { scripts: _scripts, devDependencies: _devDependencies, ...published } = manifest;
  published.optionalDependencies = { ...manifest.optionalDependencies, ...native };
  mkdirSync(staging);
  writeFileSync(join(staging, "package.json"), `${JSON.stringify(published, undefined, 2)}\n`);
  for (const name of ["dist", "README.md", "LICENSE"]) {
    if (existsSync(name)) cpSync(name, join(staging, name), { recursive: true });
  }
  return npmPack(staging, out);
}

function packNative(staging, out) {
  const platform = platformPackages().get(platformPackageName());
  if (platform === undefined || !existsSync(BINARY)) return undefined;
  cpSync(platform.directory, staging, { recursive: true });
  cpSync(BINARY, join(staging, "godwit_native.node"));
  cpSync("LICENSE", join(staging, "LICENSE"));
  return npmPack(staging, out);
}

function npmPack(directory, out) {
  const args = ["pack", "--json", "--ignore-scripts", "--pack-destination", resolve(out)];
  const run = spawnSync("npm", args, {
    cwd: directory,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  if (run.status !== 0) throw new Error(`npm pack failed in ${directory}`);
  return join(resolve(out), JSON.parse(run.stdout)[0].filename);
}

if (process.argv[1]?.endsWith("/pack.mjs")) {
  const { values } = commandLine(import.meta.filename, { out: { type: "string" } });
  if (values.out === undefined) {
    console.error("usage: node scripts/pack.mjs --out DIR");
    process.exit(2);
  }
  const { main, native } = pack(values.out);
  console.log(main);
  console.log(native ?? "no native addon was built on this machine");
}
