// What a run of the scoreboard keeps and shows: JSON after each row, and tables in Markdown made from it.
//   node bench/paths/report.mjs RESULTS.json      prints the tables of a stored run
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { dirname } from "node:path";
import { commandLine } from "../../scripts/command-line.mjs";

/** Time that the host took processors away from this machine, and all time, in ticks since it started. */
function processorTicks() {
  const file = "/proc/stat";
  if (!existsSync(file)) return { stolen: 0, all: 0 };
  const ticks = readFileSync(file, "utf8").split("\n")[0].trim().split(/\s+/).slice(1, 9).map(Number);
  return { stolen: ticks[7] ?? 0, all: ticks.reduce((sum, one) => sum + one, 0) };
}

/** Starts to count; the function it returns says which share of the processors' time the host took since. */
export function watchStolenTime() {
  const before = processorTicks();
  return () => {
    const { stolen, all } = processorTicks();
    return all === before.all ? 0 : Number(((stolen - before.stolen) / (all - before.all)).toFixed(4));
  };
}

/** One row's fields as text. */
export function shown(row) {
  if (row.failed !== undefined) return `failed: ${row.failed}`;
  const { via: _, peers, ...fields } = row;
  const others = Object.entries(peers ?? {}).map(
    ([name, { mbit, absent, cutOffAfter }]) =>
      `${name} ${mbit ?? (absent === undefined ? "failed" : `absent (${absent})`)}${cutOffAfter === undefined ? "" : ` in the first ${cutOffAfter} s`}`,
  );
  return [
    ...Object.entries(fields).map(([name, value]) => `${name} ${JSON.stringify(value)}`),
    ...others,
  ].join(", ");
}

const unique = (list) => [...new Set(list)].toSorted((a, b) => a - b);
const table = (head, rows) =>
  [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");

/** Conditions that all tables begin with. */
function conditions({ when, machine, commit, secondsOfData, isVirtual, rows }) {
  if (isVirtual === true) return `Virtual time, commit ${commit}, ${secondsOfData} s of data a row.`;
  const loads = rows.map(({ load }) => load ?? 0);
  const stolen = Math.max(0, ...rows.map(({ stolenShare }) => stolenShare ?? 0));
  return `${machine}, commit ${commit}, ${when.slice(0, 10)}, ${secondsOfData} s of data a row; load ${Math.min(...loads)} to ${Math.max(...loads)}, at most ${(100 * stolen).toFixed(1)} % of a row's time taken by the host.`;
}

/** Every row with its verdict. */
function figureTable(output) {
  const rows = output.rows.map(({ path, isReached, load, ...row }) => [
    path,
    row.via ?? "",
    isReached === null ? "" : isReached ? "yes" : "**no**",
    shown(row),
    load,
  ]);
  return table(["path", "via", "reached", "result", "load"], rows);
}

/** The grid: one table for each rate, a line for each round trip, a column for each loss, a figure for each queue. */
function gridTables({ rows }) {
  const cells = rows.filter(({ scenario }) => scenario?.queue !== undefined);
  const odd = rows.filter(({ scenario }) => scenario?.queue === undefined);
  const [rates, losses, queues] = ["rate", "loss", "queue"].map((field) =>
    unique(cells.map(({ scenario }) => scenario[field])),
  );
  const percent = (row) =>
    row === undefined ? "–" : row.share === undefined ? "failed" : String(Math.round(100 * row.share));
  const parts = rates.map((rate) => {
    const ofRate = cells.filter(({ scenario }) => scenario.rate === rate);
    const lines = unique(ofRate.map(({ scenario }) => scenario.rtt)).map((rtt) => [
      `${rtt} ms`,
      ...losses.map((loss) =>
        queues
          .map((queue) =>
            percent(
              ofRate.find(({ scenario: one }) => one.rtt === rtt && one.loss === loss && one.queue === queue),
            ),
          )
          .join(" / "),
      ),
    ]);
    return `**${rate} Mbit/s**, queue of ${queues.join(" / ")} BDP\n\n${table(["RTT", ...losses.map((loss) => `${loss} % loss`)], lines)}`;
  });
  if (odd.length > 0)
    parts.push(
      table(
        ["path", "%"],
        odd.map((row) => [row.path, percent(row)]),
      ),
    );
  return parts.join("\n\n");
}

/** Contestants beside each other: Mbit/s, and how many times as fast godwit is. */
function versusTable({ rows }) {
  const names = [...new Set(rows.flatMap(({ peers }) => Object.keys(peers ?? {})))].filter(
    (name) => name !== "godwit",
  );
  const measured = names.filter((name) => rows.some(({ peers }) => peers?.[name]?.mbit !== undefined));
  const cell = (peer, godwit) => {
    if (peer === undefined) return "–";
    if (peer.mbit === undefined) return peer.absent ?? "failed";
    const mark = peer.cutOffAfter === undefined ? "" : "†";
    const times = godwit / peer.mbit;
    return times === Infinity ? `0${mark}` : `${peer.mbit}${mark} (${times.toFixed(times < 10 ? 2 : 0)} x)`;
  };
  const lines = rows
    .filter(({ peers }) => peers !== undefined)
    .map(({ path, peers }) => [
      path,
      peers.godwit?.mbit ?? "failed",
      ...measured.map((name) => cell(peers[name], peers.godwit?.mbit)),
    ]);
  const absent = names.flatMap((name) => {
    const { absent } = rows.find(({ peers }) => peers?.[name] !== undefined)?.peers[name] ?? {};
    return absent === undefined ? [] : [`${name}: ${absent}.`];
  });
  const marks = "† stopped before its end: what had arrived by then over the time.";
  return [table(["path", "godwit", ...measured], lines), "", marks, ...absent].join("\n");
}

/** The tables of a run, with their conditions. */
export function report(output) {
  const kind = output.kind ?? "figures";
  const tables = { figures: figureTable, grid: gridTables, versus: versusTable };
  return `${conditions(output)}\n\n${tables[kind](output)}\n`;
}

function keep(file, text) {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}

/** The rows of one run: kept in `out` and as tables in `table` after each, where those are named. */
export class Results {
  /** What is kept: conditions and rows. */
  output;

  /**
   * @param {"figures" | "grid" | "versus"} kind - Which table is made of it.
   * @param files - `out`, `table`, and `resume`: go on with the rows of `out` if it is of the same run.
   */
  constructor(kind, secondsOfData, files, more = {}) {
    this.files = files;
    const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
    const machine = `${cpus().length} x ${cpus()[0].model.trim()}, Linux ${release()}, Node ${process.version}`;
    this.output = { when: new Date().toISOString(), machine, commit, kind, secondsOfData, ...more, rows: [] };
    if (files.resume === true && files.out !== undefined && existsSync(files.out)) this.goOn(files.out);
  }

  goOn(file) {
    const { output } = this;
    const before = JSON.parse(readFileSync(file, "utf8"));
    const isSameRun = ["commit", "kind", "secondsOfData", "isVirtual"].every(
      (field) => before[field] === output[field],
    );
    if (isSameRun) output.rows.push(...before.rows.filter(({ failed }) => failed === undefined));
    process.stderr.write(
      isSameRun ? `goes on after ${output.rows.length} rows\n` : `${file} is of another run: begins anew\n`,
    );
  }

  /** Whether there is a row of this name. */
  has(name) {
    return this.output.rows.some(({ path }) => path === name);
  }

  /** Takes a row. */
  add(row) {
    this.output.rows.push(row);
    const { out, table } = this.files;
    if (out !== undefined) keep(out, `${JSON.stringify(this.output, null, 2)}\n`);
    if (table !== undefined) keep(table, report(this.output));
  }
}

if (process.argv[1] === import.meta.filename) {
  const { positionals } = commandLine(import.meta.filename, {}, true);
  for (const file of positionals) process.stdout.write(report(JSON.parse(readFileSync(file, "utf8"))));
}
