// Calls the native addon with everything it must refuse: wrong types, wrong lengths, descriptors that
// point outside the buffer, detached and shared and resized buffers, closed and foreign handles.
// Passes when each call returns or throws an Error of the addon, and the process lives to say so.
//
//   npm run fuzz:native -- --seconds 20 --seed 1     by default 10 s and a seed that is printed
//   npm run fuzz:native -- --asan          the same under AddressSanitizer (needs gcc and its libasan)
//   npm run fuzz:native -- --addon FILE    another build of the addon
import { existsSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Worker } from "node:worker_threads";
import { SeededRandom } from "../../dist/base/random.js";
import { commandLine } from "../../scripts/command-line.mjs";
import { buildSanitized, runSanitized } from "./sanitize-native.mjs";

const { values: options } = commandLine(import.meta.filename, {
  asan: { type: "boolean", default: false },
  addon: { type: "string", default: "../../native/build/Release/godwit_native.node" },
  seconds: { type: "string", default: "10" },
  seed: { type: "string", default: String(Date.now() % 1_000_000_007) },
});

if (options.asan) {
  const addon = buildSanitized();
  process.exit(
    runSanitized([
      "--expose-gc",
      import.meta.filename,
      "--addon",
      addon,
      "--seconds",
      options.seconds,
      "--seed",
      options.seed,
    ]),
  );
}

const addon = createRequire(import.meta.url)(options.addon);
const random = new SeededRandom(Number(options.seed), "native boundary");
console.error(`fuzzing the native boundary for ${options.seconds} s, seed ${options.seed}`);

const nothing = () => {};
const loopback = (port) => Int32Array.of(0, 0, 0xffff, 0x7f000001, port, 0);

function openSocket(handlers = [nothing, nothing, nothing]) {
  const family = random.chance(0.7) ? 4 : 6;
  const address = family === 4 ? loopback(0) : Int32Array.of(0, 0, 0, 1, 0, 0);
  return addon.openSocket(family, address, 1 << 18, random.integer(0, 15), ...handlers);
}

const sockets = [];
const keys = [];
const closed = openSocket();

/** A receiver that reads into whatever it is given, from inside the callback. */
function addSocket() {
  const handlers = [
    () => {
      if (random.chance(0.05)) {
        addon.closeSocket(self);
        return;
      }
      call("receive", receiveArguments(self, random.chance(0.5)));
      // Left unread, a level-triggered socket would call for ever.
      call("receive", receiveArguments(self, true));
    },
    () => {
      if (random.chance(0.1)) addon.closeSocket(self);
    },
    nothing,
  ];
  const self = openSocket(handlers);
  addon.startSocket(self);
  sockets.push(self);
}

function detached(array) {
  // Detaching twice is an error from Node 22 on.
  if (array.buffer.byteLength > 0) structuredClone(array.buffer, { transfer: [array.buffer] });
  return array;
}

const KINDS = [
  Uint8Array,
  Int32Array,
  Float64Array,
  Int8Array,
  Uint16Array,
  Uint8ClampedArray,
  BigInt64Array,
  Float32Array,
];
const LENGTHS = [0, 1, 2, 5, 6, 11, 12, 15, 16, 17, 31, 32, 33, 64, 100, 1_500, 65_535, 65_536, 70_000];
const NUMBERS = [
  -1,
  -0,
  0,
  1,
  2,
  3,
  7,
  64,
  0.5,
  1e9,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  1e300,
  NaN,
  Infinity,
  -Infinity,
];

/** Something that does not belong there. */
function junk() {
  switch (random.integer(0, 12)) {
    case 0:
      return undefined;
    case 1:
      return null;
    case 2:
      return random.pick(["", "x", Symbol("s"), 1n, true, new Map(), () => {}, new Proxy({}, {}), /x/]);
    case 3:
      return random.pick(NUMBERS);
    case 4:
      return detached(new (random.pick(KINDS))(random.pick(LENGTHS)));
    case 5:
      return new Uint8Array(new SharedArrayBuffer(random.pick(LENGTHS)));
    case 6: {
      const buffer = new ArrayBuffer(random.pick(LENGTHS), { maxByteLength: 80_000 });
      const array = new Uint8Array(buffer);
      buffer.resize(random.pick(LENGTHS));
      return array;
    }
    case 7:
      return new DataView(new ArrayBuffer(16));
    case 8:
      return random.pick([closed, random.pick(sockets), random.pick(keys), Object.create(closed)]);
    case 9:
      return new Int32Array(new ArrayBuffer(80_000), 4 * random.integer(0, 10), random.integer(0, 12));
    default:
      return new (random.pick(KINDS))(random.pick(LENGTHS));
  }
}

function descriptors(capacity, bytes) {
  const offsets = new Int32Array(capacity);
  const lengths = new Int32Array(capacity);
  const size = random.integer(0, Math.min(1_500, bytes));
  const isTight = random.chance(0.6);
  for (let i = 0; i < capacity; i++) {
    offsets[i] = isTight ? (i * size) % Math.max(1, bytes - size) : random.integer(0, bytes);
    lengths[i] = isTight ? size : random.integer(0, Math.max(0, bytes - offsets[i]));
  }
  // One bad descriptor ends a call, so that most batches have none.
  const bad = random.integer(0, 3 * capacity);
  if (bad < capacity) {
    if (random.chance(0.5)) offsets[bad] = random.pick([-1, -(2 ** 31), 2 ** 31 - 1, bytes, bytes + 1]);
    else lengths[bad] = random.pick([-1, -(2 ** 31), 2 ** 31 - 1, bytes + 1]);
  }
  return { offsets, lengths };
}

function addresses(capacity) {
  const words = new Int32Array(capacity * 6);
  const target = addressOf(random.pick(sockets)) ?? loopback(9);
  for (let i = 0; i < capacity; i++) {
    words.set(target, i * 6);
  }
  if (capacity > 0 && random.chance(0.3)) {
    words[6 * random.integer(0, capacity - 1) + random.integer(0, 5)] = random.uint32();
  }
  return words;
}

function sendArguments(socket = random.pick(sockets)) {
  const capacity = random.integer(0, 80);
  const bytes = new Uint8Array(random.pick(LENGTHS));
  const { offsets, lengths } = descriptors(capacity, bytes.length);
  const to = random.integer(0, capacity);
  const ecn = new Uint8Array(capacity).fill(random.integer(0, 255));
  return [socket, bytes, offsets, lengths, addresses(capacity), ecn, random.integer(0, to), to];
}

function receiveArguments(socket = random.pick(sockets), isWhole = true) {
  const capacity = isWhole ? 200 : random.integer(1, 80);
  const bytes = new Uint8Array(isWhole || random.chance(0.5) ? 1 << 18 : random.pick(LENGTHS));
  const count = random.chance(0.8) ? 0 : random.integer(0, capacity);
  const used = count === 0 ? 0 : random.integer(0, bytes.length);
  return [
    socket,
    bytes,
    new Int32Array(capacity),
    new Int32Array(capacity),
    new Int32Array(capacity * 6),
    new Uint8Array(capacity),
    count,
    used,
  ];
}

function keyArguments() {
  const capacity = random.integer(0, 40);
  const bytes = random.bytes(new Uint8Array(random.pick(LENGTHS)));
  const { offsets, lengths } = descriptors(capacity, bytes.length);
  const numbers = new Float64Array(capacity);
  for (let i = 0; i < capacity; i++) numbers[i] = random.chance(0.05) ? random.pick(NUMBERS) : i;
  const to = random.integer(0, capacity);
  return [
    random.pick(keys),
    bytes,
    offsets,
    lengths,
    numbers,
    random.integer(0, to),
    to,
    random.integer(0, 30),
  ];
}

// A file on a disk, where the machine has one, and a file in memory; beyond them numbers that are no file of ours.
const files = [tmpdir(), "/dev/shm"].filter((path) => existsSync(path)).map(scratchFile);

function scratchFile(directory) {
  const name = join(mkdtempSync(join(directory, "godwit-fuzz-")), "file");
  const file = openSync(name, "w+");
  rmSync(dirname(name), { recursive: true });
  return file;
}

function fileArguments() {
  const bytes = new Uint8Array(random.pick([...LENGTHS, 1 << 20, (1 << 20) + 1]));
  const offset = random.chance(0.9) ? random.integer(0, 100_000) : random.pick(NUMBERS);
  // Not the numbers that Node uses itself: what would be written there is no argument that we could take back.
  const file = random.chance(0.9)
    ? random.pick(files)
    : random.pick([-1, 0.5, NaN, 2 ** 31 - 1, 2 ** 31, 1e9]);
  return [file, bytes, offset];
}

const makers = {
  createKey: () => [new Uint8Array(32), new Uint8Array(12)],
  seal: keyArguments,
  sealBorrowed: () => {
    const list = keyArguments();
    const capacity = list[2].length;
    const lenders = Array.from({ length: random.integer(0, 66) }, () => new Uint8Array(random.pick(LENGTHS)));
    const loan = (most) => Int32Array.from({ length: capacity }, () => random.integer(0, most));
    const borrowed = random.chance(0.3) ? new Int32Array(capacity) : loan(40);
    // An accessor runs in the middle of the call, and takes memory away that was given with it.
    if (random.chance(0.05) && lenders.length > 0)
      Object.defineProperty(lenders, random.integer(0, lenders.length - 1), {
        get() {
          detachOne(random.chance(0.5) ? list : lenders.slice(1));
          return new Uint8Array(100);
        },
      });
    return [...list, borrowed, loan(60), loan(Math.max(0, lenders.length - 1)), lenders];
  },
  open: () => {
    const list = keyArguments();
    return [...list, new Uint8Array(list[2].length)];
  },
  openSocket: () => [4, loopback(0), 1 << 16, random.integer(0, 15), nothing, nothing, nothing],
  startSocket: () => [random.pick(sockets)],
  closeSocket: () => [random.chance(0.02) ? random.pick(sockets) : closed],
  localAddress: () => [random.pick(sockets), new Int32Array(6)],
  pathMtu: () => [random.pick(sockets), loopback(9)],
  statistics: () => [random.pick(sockets), new Float64Array(11)],
  readNow: () => fileArguments(),
  writeNow: () => fileArguments(),
  copyPieces: () => {
    const capacity = random.integer(0, 20);
    const integers = (most) => Int32Array.from({ length: capacity }, () => random.integer(-1, most));
    const bytes = new Uint8Array(random.pick(LENGTHS));
    const target = random.chance(0.1) ? bytes : new Uint8Array(random.pick(LENGTHS));
    const to = random.integer(0, capacity);
    return [
      bytes,
      integers(60),
      integers(60),
      random.integer(0, to),
      to,
      target,
      random.integer(0, target.length),
    ];
  },
  send: () => sendArguments(),
  receive: () => receiveArguments(undefined, random.chance(0.5)),
};

/** Small numbers in place of a file would be Node's own. */
const firstJunk = { readNow: 1, writeNow: 1 };

const tally = new Map();
function note(name, outcome) {
  const key = `${name} ${outcome}`;
  tally.set(key, (tally.get(key) ?? 0) + 1);
}

/** One call: a result, or an error of the addon; anything else ends the run. */
function call(name, list) {
  try {
    const result = addon[name](...list);
    note(name, "returned");
    return result;
  } catch (error) {
    const isOurs = error instanceof Error && typeof error.code === "string";
    if (!isOurs) throw error;
    note(name, error.code);
    return undefined;
  }
}

function fuzzOnce() {
  const name = random.pick(Object.keys(makers));
  const list = makers[name]();
  if (random.chance(0.5)) list[random.integer(firstJunk[name] ?? 0, list.length - 1)] = junk();
  if (random.chance(0.03)) list.length = random.integer(0, list.length);
  if (random.chance(0.03)) detachOne(list);
  const result = call(name, list);
  if (name === "openSocket" && result !== undefined) addon.closeSocket(result);
  if (name === "createKey" && result !== undefined) keys[random.integer(0, keys.length - 1)] = result;
}

function detachOne(list) {
  const array = list.find((item) => ArrayBuffer.isView(item) && item.buffer instanceof ArrayBuffer);
  if (array !== undefined) detached(array);
}

/** A thread that ends while its sockets are open: the environment has to close them. */
async function endWorkerWithOpenSockets() {
  const source = `
    const addon = require(${JSON.stringify(createRequire(import.meta.url).resolve(options.addon))});
    const { parentPort } = require("node:worker_threads");
    globalThis.kept = [];
    for (let i = 0; i < 5; i++) {
      const socket = addon.openSocket(4, Int32Array.of(0, 0, 0xffff, 0x7f000001, 0, 0), 65536, 15,
        () => {}, () => {}, () => {});
      if (i % 2 === 0) addon.startSocket(socket);
      if (i === 3) addon.closeSocket(socket);
      globalThis.kept.push(socket);
    }
    globalThis.kept.push(addon.createKey(new Uint8Array(32), new Uint8Array(12)));
    parentPort.postMessage("open");`;
  const worker = new Worker(source, { eval: true });
  await new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  await worker.terminate();
}

addon.closeSocket(closed);
for (let i = 0; i < 4; i++) keys.push(addon.createKey(new Uint8Array(32).fill(i), new Uint8Array(12)));
for (let i = 0; i < 4; i++) addSocket();

const deadlineMs = performance.now() + Number(options.seconds) * 1_000;
let calls = 0;
let turns = 0;
while (performance.now() < deadlineMs) {
  for (let i = 0; i < 50; i++, calls++) fuzzOnce();
  await new Promise((resolve) => setImmediate(resolve));
  turns++;
  // The closed ones among them keep being used: every function has to live with that.
  if (turns % 50 === 0) {
    const at = random.integer(0, sockets.length - 1);
    addon.closeSocket(sockets[at]);
    sockets.splice(at, 1);
    addSocket();
  }
  for (let i = 0; i < sockets.length; i++) {
    if (addressOf(sockets[i]) !== undefined || random.chance(0.9)) continue;
    sockets.splice(i, 1);
    addSocket();
  }
  if (turns % 200 === 0) globalThis.gc?.();
  if (turns % 400 === 1) await endWorkerWithOpenSockets();
}
for (const socket of sockets) addon.closeSocket(socket);
for (const [outcome, count] of [...tally].sort(([a], [b]) => a.localeCompare(b)))
  console.error(`${String(count).padStart(9)}  ${outcome}`);
console.error(`${calls} calls, ${turns} turns of the loop: no crash, no foreign exception`);

function addressOf(socket) {
  const words = new Int32Array(6);
  try {
    addon.localAddress(socket, words);
    return words;
  } catch {
    return undefined;
  }
}
