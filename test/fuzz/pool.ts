/** What all fuzz targets share. */
import { GodwitError } from "../../src/base/errors.ts";

/** One parser under test. */
export interface FuzzTarget {
  /** Inputs to begin from, beside the saved corpus. */
  readonly seeds: () => Uint8Array[];
  /** Throws if the input breaks a promise. */
  readonly check: (input: Uint8Array) => void;
  /** Inputs of the short run in `npm test`, where one costs more than usual; 3 000 if not given. */
  readonly shortRun?: number;
}

/** Runs `parse`; a GodwitError with one of `codes` is an answer, anything else thrown is a finding. */
export function answered<T>(codes: readonly string[], parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (error instanceof GodwitError && codes.includes(error.code)) return undefined;
    throw error;
  }
}

/** Text as the bytes of an input. */
export function seedText(...texts: readonly string[]): Uint8Array[] {
  return texts.map((text) => new TextEncoder().encode(text));
}

/** The bytes of an input as text; bytes that are no UTF-8 become U+FFFD. */
export function textOf(input: Uint8Array): string {
  return new TextDecoder().decode(input);
}
