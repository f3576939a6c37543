// How time, CPU and memory grow with the size of a file and with the number of files.
//   node bench/scale/sizes.mjs [--sizes 1K,1M,64M,1G] [--files 1000,10000] [--dir /dev/shm]
// An empty list leaves that part out: `--files ""`.
import { randomBytes } from "node:crypto";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { contestants, LOOPBACK } from "../end-to-end/contestants.mjs";
import { conditions } from "../table.mjs";
import { commandLine } from "../../scripts/command-line.mjs";

const { values } = commandLine(import.meta.filename, {
  sizes: { type: "string", default: "1K,1M,64M,1G" },
  files: { type: "string", default: "1000,10000" },
  dir: { type: "string", default: existsSync("/dev/shm") ? "/dev/shm" : tmpdir() },
});
const UNITS = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };
const FILE_BYTES = 1_000;
const directory = mkdtempSync(join(values.dir, "godwit-sizes-"));
const [{ run }] = contestants([]);

async function once(source) {
  const inbox = join(directory, "inbox");
  rmSync(inbox, { recursive: true, force: true });
  mkdirSync(inbox);
  const load = loadavg()[0];
  const result = await run({ directory, inbox, source, path: LOOPBACK });
  return { ...result, inbox, load };
}

function line(name, { seconds, cpu, rss, load }, rate) {
  console.log(
    `| ${name} | ${seconds.toFixed(2)} | ${rate} | ${cpu.map((s) => s.toFixed(2)).join(" + ")} | ${rss.map((mib) => mib.toFixed(0)).join(" / ")} | ${load.toFixed(1)} |`,
  );
}

try {
  console.log(
    `### Sizes and numbers, native, loopback, ${values.dir}\n\nProcess start included. ${conditions()}\n`,
  );
  console.log("| what | s | rate | CPU s, sender + receiver | peak memory MiB, sender / receiver | load |");
  console.log("|---|---|---|---|---|---|");
  for (const size of values.sizes.split(",").filter(Boolean)) {
    const bytes = parseInt(size, 10) * UNITS[size.at(-1)];
    const source = join(directory, "source.bin");
    rmSync(source, { force: true });
    for (let left = bytes; left > 0; left -= 2 ** 26)
      appendFileSync(source, randomBytes(Math.min(left, 2 ** 26)));
    const result = await once(source);
    if (statSync(join(result.inbox, "source.bin")).size !== bytes) throw new Error("a file differs");
    line(`one file of ${size}iB`, result, `${((bytes * 8) / result.seconds / 1e6).toFixed(0)} Mbit/s`);
    rmSync(source);
  }
  for (const count of values.files.split(",").filter(Boolean).map(Number)) {
    const source = join(directory, "tree");
    for (let i = 0; i < count; i++) {
      const parent = join(source, String(Math.floor(i / 1_000)));
      if (i % 1_000 === 0) mkdirSync(parent, { recursive: true });
      writeFileSync(join(parent, `f${i}`), randomBytes(FILE_BYTES));
    }
    const result = await once(source);
    const arrived = readdirSync(result.inbox, { recursive: true }).filter((name) =>
      /f\d+$/.test(name),
    ).length;
    if (arrived !== count) throw new Error(`${arrived} of ${count} files arrived`);
    line(`${count} files of ${FILE_BYTES} bytes`, result, `${(count / result.seconds).toFixed(0)} files/s`);
    rmSync(source, { recursive: true });
  }
  console.log("");
} finally {
  rmSync(directory, { recursive: true, force: true });
}
