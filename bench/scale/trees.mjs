// Many small files over loopback: files per second, and what both ends held: peak memory, most descriptors.
//   node bench/scale/trees.mjs [--files 10000,100000] [--bytes 10240] [--dir /tmp]
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { commandLine } from "../../scripts/command-line.mjs";
import { conditions } from "../table.mjs";

const { values } = commandLine(import.meta.filename, {
  files: { type: "string", default: "10000,100000" },
  bytes: { type: "string", default: "10240" },
  dir: { type: "string", default: tmpdir() },
});
const main = resolve(import.meta.dirname, "../../dist/cli/main.js");
const directory = mkdtempSync(join(values.dir, "godwit-trees-"));

/** A running godwit that is looked at four times a second through /proc. */
function watched(words, out) {
  const child = spawn(process.execPath, [main, ...words], { stdio: ["ignore", out, "inherit"] });
  const seen = { child, rssMib: 0, descriptors: 0, cpuSeconds: 0, status: undefined };
  const look = () => {
    try {
      const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
      seen.rssMib = Number(/VmHWM:\s+(\d+)/.exec(status)[1]) / 1_024;
      const words = readFileSync(`/proc/${child.pid}/stat`, "utf8").split(") ")[1].split(" ");
      seen.cpuSeconds = (Number(words[11]) + Number(words[12])) / 100;
      seen.descriptors = Math.max(seen.descriptors, readdirSync(`/proc/${child.pid}/fd`).length);
    } catch {
      // It has ended.
    }
  };
  const timer = setInterval(look, 250);
  seen.ended = new Promise((done) =>
    child.on("exit", (status) => {
      clearInterval(timer);
      seen.status = status;
      done(status);
    }),
  );
  return seen;
}

try {
  console.log(`### Trees of files of ${values.bytes} bytes, loopback, ${values.dir}\n\n${conditions()}\n`);
  console.log(
    "| files | s | files/s | CPU s, sender + receiver | peak memory MiB | most descriptors | load |",
  );
  console.log("|---|---|---|---|---|---|---|");
  for (const count of values.files.split(",").map(Number)) {
    const source = join(directory, "tree");
    const inbox = join(directory, "inbox");
    mkdirSync(inbox);
    const content = new Uint8Array(Number(values.bytes));
    for (let i = 0; i < count; i++) {
      if (i % 1_000 === 0) mkdirSync(join(source, String(i / 1_000)), { recursive: true });
      new DataView(content.buffer).setUint32(0, i);
      writeFileSync(join(source, String(Math.floor(i / 1_000)), `f${i}`), content);
    }
    const home = (who) => ["--home", join(directory, who)];
    const serving = ["serve", inbox, "--listen", "127.0.0.1:0", "--open", "--once", "--json"];
    const server = watched([...serving, ...home("server")], "pipe");
    const port = await new Promise((done) =>
      server.child.stdout.once("data", (line) => done(JSON.parse(String(line).split("\n")[0]).port)),
    );
    server.child.stdout.resume();
    const started = performance.now();
    const to = ["--to", `127.0.0.1:${port}`, "--accept-new", "--quiet"];
    const client = watched(["send", source, ...to, ...home("client")], "ignore");
    if ((await client.ended) !== 0) throw new Error("the sender failed");
    const seconds = (performance.now() - started) / 1_000;
    await server.ended;
    const arrived = readdirSync(inbox, { recursive: true }).filter((name) => /f\d+$/.test(name)).length;
    if (arrived !== count) throw new Error(`${arrived} of ${count} files arrived`);
    const both = (name, digits = 0) => `${client[name].toFixed(digits)} + ${server[name].toFixed(digits)}`;
    console.log(
      `| ${count} | ${seconds.toFixed(1)} | ${(count / seconds).toFixed(0)} | ${both("cpuSeconds", 1)} | ${both("rssMib")} | ${both("descriptors")} | ${loadavg()[0].toFixed(1)} |`,
    );
    rmSync(source, { recursive: true });
    rmSync(inbox, { recursive: true });
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}
