/**
 * This installation's identity: one Ed25519 key (who we are) and one X25519 static key (for the
 * handshake), made on first use and kept in `identity.json`, mode 0600 in a 0700 directory.
 */
import {
  createPrivateKey,
  createPublicKey,
  randomBytes,
  sign as signMessage,
  type KeyObject,
} from "node:crypto";
import { join } from "node:path";
import * as v from "valibot";
import { GodwitError } from "../../base/errors.ts";
import { fingerprintOf } from "../../transport/fingerprint.ts";
import type { CryptoProvider, DhKeyPair, SigningIdentity } from "../../transport/crypto.ts";
import { rawPrivateKey } from "../crypto/raw-private-key.ts";
import { ensureHome } from "./home.ts";
import { readStateFile, replaceFile } from "./atomic-file.ts";

/** What a process needs to be somebody. */
export interface Identity {
  readonly signing: SigningIdentity;
  readonly staticKey: DhKeyPair;
  /** As `godwit id` prints it. */
  readonly fingerprint: string;
}

const IDENTITY_FILE = "identity.json";
const IDENTITY_BYTES_MAX = 16 * 1024;

const Key = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{43}$/));
const IdentityFile = v.object({ version: v.literal(1), ed25519: Key, x25519: Key });

/** JSON Web Key form (RFC 8037) of a raw private key and its public part. */
function privateKeyObject(curve: "Ed25519" | "X25519", seed: string, publicPart: string): KeyObject {
  return createPrivateKey({ key: { kty: "OKP", crv: curve, d: seed, x: publicPart }, format: "jwk" });
}

function rawPublicKey(curve: "Ed25519" | "X25519", seed: Uint8Array): Uint8Array {
  const jwk = createPublicKey(rawPrivateKey(curve, seed)).export({ format: "jwk" });
  return new Uint8Array(Buffer.from(jwk.x ?? "", "base64url"));
}

/** The identity made of two raw private keys of 32 bytes each. */
export function identityFromSeeds(ed25519: Uint8Array, x25519: Uint8Array, crypto: CryptoProvider): Identity {
  const publicKey = rawPublicKey("Ed25519", ed25519);
  const signingKey = privateKeyObject(
    "Ed25519",
    Buffer.from(ed25519).toString("base64url"),
    Buffer.from(publicKey).toString("base64url"),
  );
  return {
    signing: {
      publicKey,
      sign: (message) => new Uint8Array(signMessage(null, message, signingKey)),
    },
    staticKey: { publicKey: rawPublicKey("X25519", x25519), privateKey: new Uint8Array(x25519) },
    fingerprint: fingerprintOf(publicKey, crypto),
  };
}

/**
 * A new private key: 32 random bytes for either curve (RFC 8032 §5.1.5, RFC 7748 §6.1). Not
 * generateKeyPairSync and an export, which can stop Node 20 for ever: see src/node/crypto/provider.ts.
 */
function newSeed(): string {
  return randomBytes(32).toString("base64url");
}

/**
 * Reads the identity kept in `home`, or makes one.
 *
 * @throws GodwitError CONFIGURATION when the file is damaged or cannot be read or written,
 *   INSECURE_KEY_FILE when others may read it.
 */
export function loadIdentity(home: string, crypto: CryptoProvider): Identity {
  ensureHome(home);
  const path = join(home, IDENTITY_FILE);
  let bytes = readStateFile(path, IDENTITY_BYTES_MAX, true);
  if (bytes === undefined) {
    const file = { version: 1, ed25519: newSeed(), x25519: newSeed() };
    bytes = Buffer.from(`${JSON.stringify(file)}\n`);
    replaceFile(path, bytes);
  }
  return parseIdentity(bytes, path, crypto);
}

/** The identity of a file's bytes. @throws GodwitError CONFIGURATION naming `path` when they are damaged. */
export function parseIdentity(bytes: Uint8Array, path: string, crypto: CryptoProvider): Identity {
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    parsed = undefined;
  }
  const checked = v.safeParse(IdentityFile, parsed);
  if (!checked.success) {
    throw new GodwitError(
      "CONFIGURATION",
      `${path} is damaged; restore it from a backup, or move it away to get a new identity`,
      { path },
    );
  }
  return identityFromSeeds(
    new Uint8Array(Buffer.from(checked.output.ed25519, "base64url")),
    new Uint8Array(Buffer.from(checked.output.x25519, "base64url")),
    crypto,
  );
}

/** An identity that lives as long as the process: for tests and one-off servers. */
export function temporaryIdentity(crypto: CryptoProvider): Identity {
  return identityFromSeeds(
    crypto.randomBytes(new Uint8Array(32)),
    crypto.randomBytes(new Uint8Array(32)),
    crypto,
  );
}
