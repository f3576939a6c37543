// What all benchmarks say in the same way.
import { cpus, loadavg, release } from "node:os";

/** The middle of a list; of an even one the mean of the two in the middle. */
export function median(list) {
  const sorted = list.toSorted((a, b) => a - b);
  const half = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** The machine, and how busy it was: figures of a shared machine mean little without. */
export function conditions(load = loadavg()[0]) {
  return `${cpus().length} x ${cpus()[0].model.trim()}, Linux ${release()}, Node ${process.version}; other work on the machine: load ${load.toFixed(1)}.`;
}
