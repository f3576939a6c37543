/** CPace, loaded when a pairing code is used: its curve costs as much start-up as Node itself. */
import type { Pake } from "../../transport/pairing/pake.ts";

/** The exchange that turns a pairing code into a secret. */
export async function loadPake(): Promise<Pake> {
  const { cpace } = await import("./cpace.ts");
  return cpace;
}
