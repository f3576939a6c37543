/** This installation's identity, for programs. */
import { homeDirectory } from "../node/stores/home.ts";
import { loadIdentity } from "../node/stores/identity.ts";
import { nodeCryptoProvider } from "../node/crypto/provider.ts";

/** Where an installation keeps its identity, known peers and resume state. */
export interface HomeOptions {
  /** Directory; by default `GODWIT_HOME`, else the platform's convention. */
  readonly home?: string | undefined;
}

/**
 * The fingerprint of this installation, made on first use.
 *
 * @throws GodwitError CONFIGURATION or INSECURE_KEY_FILE when the identity cannot be used.
 */
export function identity(options: HomeOptions = {}): { readonly fingerprint: string; readonly home: string } {
  const home = homeDirectory(options.home);
  return { fingerprint: loadIdentity(home, nodeCryptoProvider()).fingerprint, home };
}
