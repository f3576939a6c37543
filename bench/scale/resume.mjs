// Resume of a large file after kill -9 of the sender or the receiver: time from the start of the second process to
// its first new byte, and bytes that were sent again.
//   node bench/scale/resume.mjs [--size 4294967296] [--part 0.6] [--kill sender|receiver] [--dir /tmp]
import { spawn } from "node:child_process";
import { closeSync, ftruncateSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { commandLine } from "../../scripts/command-line.mjs";
import { conditions } from "../table.mjs";

const { values } = commandLine(import.meta.filename, {
  size: { type: "string", default: String(4 * 2 ** 30) },
  part: { type: "string", default: "0.6" },
  kill: { type: "string", default: "sender" },
  dir: { type: "string", default: tmpdir() },
});
const size = Number(values.size);
const main = resolve(import.meta.dirname, "../../dist/cli/main.js");
const directory = mkdtempSync(join(values.dir, "godwit-resume-"));
const source = join(directory, "big.bin");
const inbox = join(directory, "inbox");

/** A godwit whose JSON lines go to `onEvent`. */
function start(words, onEvent) {
  const child = spawn(process.execPath, [main, ...words, "--json"], { stdio: ["ignore", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout });
  lines.on("line", (line) => onEvent(JSON.parse(line)));
  return {
    child,
    ended: new Promise((done) => child.on("exit", done)),
    said: new Promise((done) => lines.on("close", done)),
  };
}

function serve(port, onEvent = () => undefined) {
  let server;
  return new Promise((done) => {
    const words = [
      "serve",
      inbox,
      "--listen",
      `127.0.0.1:${port}`,
      "--open",
      "--home",
      join(directory, "server"),
    ];
    server = start(words, (event) => {
      if (event.event === "listening") done({ ...server, port: event.port });
      else onEvent(event);
    });
  });
}

const send = (port, onEvent) =>
  start(
    ["send", source, "--to", `127.0.0.1:${port}`, "--accept-new", "--home", join(directory, "client")],
    onEvent,
  );

try {
  mkdirSync(inbox);
  // Every chunk differs, and the file is not a hole.
  const file = openSync(source, "w");
  const block = new Uint8Array(2 ** 20).map((_, i) => (i * 2_654_435_761) >>> 24);
  for (let at = 0; at < size; at += block.length) {
    new DataView(block.buffer).setUint32(0, at / block.length);
    writeSync(file, block, 0, Math.min(block.length, size - at));
  }
  ftruncateSync(file, size);
  closeSync(file);

  let server = await serve(0);
  let verified = 0;
  let isKilled = false;
  const first = send(server.port, (event) => {
    if (event.event !== "progress") return;
    verified = Math.max(verified, event.verifiedBytes);
    if (isKilled || verified < size * Number(values.part)) return;
    isKilled = true;
    (values.kill === "receiver" ? server : first).child.kill("SIGKILL");
  });
  if (values.kill === "receiver") {
    await server.ended;
    first.child.kill("SIGKILL");
  }
  await first.ended;
  await first.said;
  if (values.kill === "receiver") server = await serve(server.port);

  let resumed = 0;
  let firstByteMs;
  let result;
  const started = performance.now();
  const second = send(server.port, (event) => {
    if (event.event === "transfer-resumed") resumed = event.haveBytes;
    if (event.event === "progress" && event.verifiedBytes > resumed && resumed > 0)
      firstByteMs ??= performance.now() - started;
    if (event.event === "result") result = event;
  });
  const status = await second.ended;
  await second.said;
  const seconds = (performance.now() - started) / 1_000;
  server.child.kill("SIGTERM");
  await server.ended;
  if (status !== 0) throw new Error(`the second run ended with ${status}`);
  // The last progress line may be behind what was verified.
  const again = Math.max(0, verified - resumed);
  const limit = 8 * 2 ** 20 + 0.05 * size;
  console.log(
    `### Resume of ${(size / 2 ** 30).toFixed(2)} GiB after kill -9 of the ${values.kill}\n\n${conditions()}\n`,
  );
  console.log(
    "| verified when killed | resumed at | sent again | allowed | first new verified byte seen after | second run | load |",
  );
  console.log("|---|---|---|---|---|---|---|");
  const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  console.log(
    `| ${mib(verified)} | ${mib(resumed)} | ${mib(again)} | ${mib(limit)} | ${(firstByteMs ?? NaN).toFixed(0)} ms | ${seconds.toFixed(1)} s | ${loadavg()[0].toFixed(1)} |`,
  );
  if (again > limit) throw new Error("more was sent again than is allowed");
  if (result.resumedBytes !== resumed) throw new Error("the result tells other resumed bytes");
} finally {
  rmSync(directory, { recursive: true, force: true });
}
