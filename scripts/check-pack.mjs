// Installs the packed tarballs into empty directories, as a user would get them, and tries them there:
// once with the native package and once without. With the command line present, a file is transferred.
// The Node that runs this script runs what is installed, too: one version after the other can be checked.
import { spawn, spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { pack, platformPackages } from "./pack.mjs";

const version = JSON.parse(readFileSync("package.json", "utf8")).version;
const scratch = mkdtempSync(join(tmpdir(), "godwit-check-pack-"));

// What is installed is run by the Node that runs this check, whichever the path has.
process.env.PATH = `${dirname(process.execPath)}${delimiter}${process.env.PATH}`;

function check(condition, text) {
  if (!condition) throw new Error(text);
}

function run(command, args, cwd) {
  const result = spawnSync(command, args, { cwd, encoding: "utf8" });
  check(
    result.status === 0,
    `${command} ${args.join(" ")}: status ${result.status}\n${result.stdout}\n${result.stderr}`,
  );
  return result.stdout;
}

/** An empty project with the tarballs installed. */
function install(name, tarballs) {
  const project = join(scratch, name);
  mkdirSync(project);
  writeFileSync(join(project, "package.json"), `{ "private": true }\n`);
  run("npm", ["install", "--no-audit", "--no-fund", "--prefer-offline", ...tarballs], project);
  return project;
}

/** What a program that uses the installed package finds. */
function probe(project) {
  const installed = join(project, "node_modules/godwit/dist/node");
  const source = `
    import * as godwit from "godwit";
    import { openSocket } from ${JSON.stringify(join(installed, "sockets/open.js"))};
    const socket = await openSocket({ host: "127.0.0.1" });
    console.log(socket.description, typeof godwit);
    socket.close();`;
  return run(process.execPath, ["--input-type=module", "-e", source], project).trim();
}

function freePort() {
  return new Promise((resolve) => {
    const socket = createSocket("udp4");
    socket.bind(0, "127.0.0.1", () => {
      const { port } = socket.address();
      socket.close(() => resolve(port));
    });
  });
}

function ended(child) {
  return new Promise((resolve) => child.once("close", resolve));
}

/** Moves a file between two installed copies of the command line. */
async function transfer(project) {
  const bin = join(project, "node_modules/.bin/godwit");
  const port = await freePort();
  const into = join(project, "into");
  mkdirSync(into);
  const content = Buffer.alloc(3_000_001, "a tarball that works. ");
  writeFileSync(join(project, "sample.bin"), content);
  const start = (home, args) =>
    spawn(bin, args, {
      cwd: project,
      stdio: ["ignore", "ignore", "inherit"],
      env: { ...process.env, GODWIT_HOME: join(project, home) },
    });
  const server = start("home-server", [
    "serve",
    into,
    "--listen",
    `127.0.0.1:${port}`,
    "--open",
    "--once",
    "--quiet",
  ]);
  const client = start("home-client", [
    "send",
    "sample.bin",
    "--to",
    `127.0.0.1:${port}`,
    "--accept-new",
    "--quiet",
  ]);
  const limit = setTimeout(() => {
    server.kill();
    client.kill();
  }, 60_000);
  const statuses = await Promise.all([ended(client), ended(server)]);
  clearTimeout(limit);
  check(statuses.join() === "0,0", `the transfer ended with ${statuses.join(" and ")}`);
  check(readFileSync(join(into, "sample.bin")).equals(content), "the transferred file differs");
}

async function checkProject(project, expected) {
  const found = probe(project);
  check(found.startsWith(expected), `expected a ${expected} socket, found ${found}`);
  const bin = join(project, "node_modules/.bin/godwit");
  if (existsSync(bin)) check(run(bin, ["--version"], project).trim() === version, "godwit --version");
  await transfer(project);
  console.error(`${expected}: installed, ${found}, transferred a file`);
}

try {
  for (const [name, { manifest }] of platformPackages()) {
    check(manifest.version === version, `${name} is at ${manifest.version}, godwit at ${version}`);
  }
  const { main, native } = pack(join(scratch, "packed"));
  const files = run("tar", ["-tzf", main], scratch).trim().split("\n");
  const strangers = files.filter(
    (file) => !/^package\/(package\.json|README\.md|LICENSE|dist\/.*)$/.test(file),
  );
  check(strangers.length === 0, `the tarball holds ${strangers.join(", ")}`);
  check(
    !files.some((file) => /\.test\.|\.map$|binding\.gyp|tsbuildinfo/.test(file)),
    "test or build files packed",
  );
  await checkProject(install("plain", [main]), "dgram");
  if (native !== undefined) await checkProject(install("native", [main, native]), "native");
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
