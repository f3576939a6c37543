/** This machine's primitives for simulated runs: `npm run sim` and the tests. */
import { bbr } from "../transport/congestion/bbr.ts";
import { cubic } from "../transport/congestion/cubic.ts";
import { newReno } from "../transport/congestion/newreno.ts";
import type { SimEnvironment } from "../sim/swarm/environment.ts";
import { nodeCryptoProvider } from "./crypto/provider.ts";
import { loadBlake3 } from "./hash.ts";
import { identityFromSeeds } from "./stores/identity.ts";

/** Made once per process: the keys are the same in every run, so that runs repeat. */
export async function loadSimEnvironment(): Promise<SimEnvironment> {
  const crypto = nodeCryptoProvider();
  const identity = (first: number): ReturnType<typeof identityFromSeeds> =>
    identityFromSeeds(new Uint8Array(32).fill(first), new Uint8Array(32).fill(first + 1), crypto);
  return {
    crypto,
    hash: await loadBlake3(),
    identities: [identity(1), identity(3)],
    controllers: { bbr, cubic, newreno: newReno },
  };
}
