/** Which code of `src/` an input reaches, from V8's own block coverage: the guide of the fuzzer. */
import { Session, type Profiler } from "node:inspector";

/** Follows coverage in this process from its creation to `close`. */
export class CoverageGuide {
  readonly #session = new Session();
  readonly #seen = new Set<string>();

  constructor() {
    this.#session.connect();
    this.#session.post("Profiler.enable");
    this.#session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
  }

  /** How many functions and blocks of `src/` were reached so far. */
  get reached(): number {
    return this.#seen.size;
  }

  /** Whether code ran since the last call that had never run before. */
  hasGrown(): boolean {
    const before = this.#seen.size;
    // The answer comes before `post` returns: the session belongs to this thread.
    this.#session.post("Profiler.takePreciseCoverage", (error, answer) => {
      if (error !== null) throw error;
      for (const script of answer.result) if (script.url.includes("/src/")) this.#add(script);
    });
    return this.#seen.size > before;
  }

  close(): void {
    this.#session.disconnect();
  }

  #add(script: Profiler.ScriptCoverage): void {
    for (const part of script.functions)
      for (const range of part.ranges)
        if (range.count > 0) this.#seen.add(`${script.scriptId}:${range.startOffset}:${range.endOffset}`);
  }
}
