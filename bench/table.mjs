// What all benchmarks say in the same way.
import { cpus, loadavg, release } from "node:os";

/** The middle of a list. */
export function median(list) {
  return list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
}

/** The machine, and how busy it was: figures of a shared machine mean little without. */
export function conditions(load = loadavg()[0]) {
  return `${cpus().length} x ${cpus()[0].model.trim()}, Linux ${release()}, Node ${process.version}; other work on the machine: load ${load.toFixed(1)}.`;
}
