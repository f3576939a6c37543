// The main job on this machine: a receiver, a deliberately bad network, a real tree, and the verdict.
//   npm run demo            sends this repository's docs and sources
//   npm run demo -- PATH    sends PATH
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { commandLine } from "./command-line.mjs";

const [named] = commandLine(import.meta.filename, {}, true).positionals;

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { openLinkRelay } = await import(join(root, "dist/node/link-relay.js"));
const godwit = join(root, "dist/cli/main.js");

const LOSS = 0.05;
const ROUND_TRIP_MS = 80;
const RATE_MBIT = 50;

const scene = mkdtempSync(join(tmpdir(), "godwit-demo-"));
const inbox = join(scene, "inbox");
mkdirSync(inbox);
const say = (text) => process.stderr.write(`${text}\n`);

function source() {
  if (named !== undefined) {
    if (existsSync(named)) return resolve(named);
    say(`there is no ${named}`);
    process.exit(2);
  }
  const tree = join(scene, "godwit");
  for (const part of ["docs", "src", "test", "README.md", "LICENSE", "package-lock.json"]) {
    const from = join(root, part);
    if (existsSync(from)) cpSync(from, join(tree, part), { recursive: true });
  }
  return tree;
}

// What is sent and what arrived, compared by SHA-256 of every name and content: independent of godwit's own hashes.
function digest(path) {
  const hash = createHash("sha256");
  let files = 0;
  const visit = (at, name) => {
    const status = lstatSync(at);
    if (status.isDirectory()) {
      hash.update(`d ${name}\n`);
      for (const entry of readdirSync(at).sort()) visit(join(at, entry), `${name}/${entry}`);
    } else if (status.isFile()) {
      files++;
      hash.update(`f ${name} ${createHash("sha256").update(readFileSync(at)).digest("hex")}\n`);
    }
  };
  visit(path, "");
  return { files, hash: hash.digest("hex") };
}

function start(who, args, stdio) {
  return spawn(process.execPath, [godwit, ...args], {
    env: { ...process.env, GODWIT_HOME: join(scene, `home-${who}`) },
    stdio,
  });
}

const ended = (child) => new Promise((done) => child.on("close", (status) => done(status ?? 1)));
const children = [];
let relay;
let status = 1;
try {
  const tree = source();
  const server = start(
    "receiver",
    ["serve", inbox, "--listen", "127.0.0.1:0", "--open", "--json"],
    ["ignore", "pipe", "inherit"],
  );
  children.push(server);
  const listening = await new Promise((done, fail) => {
    let text = "";
    server.stdout.on("data", (bytes) => {
      text += bytes;
      const end = text.indexOf("\n");
      if (end >= 0) done(JSON.parse(text.slice(0, end)));
    });
    server.on("close", () => fail(new Error("the receiver did not start")));
  });
  const link = {
    delayUs: (ROUND_TRIP_MS / 2) * 1_000,
    rateBytesPerSecond: (RATE_MBIT * 1e6) / 8,
    mtuBytes: 1_472,
    lossProbability: LOSS,
    reorderProbability: 0.02,
    reorderDelayUs: 5_000,
  };
  relay = await openLinkRelay({
    listen: { host: "127.0.0.1", port: 0 },
    target: { host: "127.0.0.1", port: listening.port },
    up: link,
    down: link,
    seed: 1,
  });
  say(`godwit demo: ${named ?? "this repository's docs and sources"}`);
  say(`  receiver  127.0.0.1:${listening.port}, key ${listening.fingerprint}`);
  say(
    `  network   ${RATE_MBIT} Mbit/s, ${ROUND_TRIP_MS} ms round trip, ${LOSS * 100} % loss each way, 2 % reordered`,
  );
  say(
    `  command   godwit send ${basename(tree)} --to 127.0.0.1:${relay.port} --pin ${listening.fingerprint}`,
  );
  say("");
  const sender = start(
    "sender",
    ["send", tree, "--to", `127.0.0.1:${relay.port}`, "--pin", listening.fingerprint, "--stats"],
    ["ignore", "inherit", "inherit"],
  );
  children.push(sender);
  status = await ended(sender);
  const { up } = relay.statistics;
  if (status === 0) {
    const sent = digest(tree);
    const arrived = digest(join(inbox, basename(tree)));
    const isSame = sent.hash === arrived.hash;
    say("");
    say(
      `  compared  ${arrived.files} of ${sent.files} files by SHA-256: ${isSame ? "identical" : "DIFFERENT"} (${sent.hash.slice(0, 16)}...)`,
    );
    if (!isSame) status = 8;
  }
  say(
    `  the link  dropped ${up.droppedLoss + up.droppedQueue} and reordered ${up.reordered} of the sender's ${up.datagramsIn} datagrams`,
  );
} finally {
  for (const child of children) child.kill();
  relay?.close();
  rmSync(scene, { recursive: true, force: true });
}
process.exitCode = status;
