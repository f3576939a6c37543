/** Finds the native addon: this checkout's own build, then the platform's package, else nothing. */
import { createRequire } from "node:module";
import { join } from "node:path";
import type { CopyPieces } from "../../wire/batch.ts";
import { packageDirectory } from "../package.ts";

/** An object of the addon; only the addon can look inside. */
export type NativeHandle = object & { readonly __native: unique symbol };

/** What native/src/ offers. Every function throws a TypeError for arguments that do not fit. */
export interface NativeBinding {
  readonly interfaceVersion: number;
  /** Whether the running node exports OpenSSL; without it `createKey`, `seal` and `open` are missing. */
  readonly hasPacketKey: boolean;
  openSocket(
    family: 4 | 6,
    address: Int32Array,
    bufferBytes: number,
    features: number,
    handleReadable: () => void,
    handleWritable: () => void,
    handleError: () => void,
  ): NativeHandle;
  startSocket(socket: NativeHandle): void;
  closeSocket(socket: NativeHandle): void;
  localAddress(socket: NativeHandle, out: Int32Array): void;
  pathMtu(socket: NativeHandle, address: Int32Array): number;
  statistics(socket: NativeHandle, out: Float64Array): void;
  send(
    socket: NativeHandle,
    bytes: Uint8Array,
    offsets: Int32Array,
    lengths: Int32Array,
    addresses: Int32Array,
    ecn: Uint8Array,
    from: number,
    to: number,
  ): number;
  receive(
    socket: NativeHandle,
    bytes: Uint8Array,
    offsets: Int32Array,
    lengths: Int32Array,
    addresses: Int32Array,
    ecn: Uint8Array,
    count: number,
    usedBytes: number,
  ): number;
  createKey(key: Uint8Array, iv: Uint8Array): NativeHandle;
  seal(
    key: NativeHandle,
    bytes: Uint8Array,
    offsets: Int32Array,
    lengths: Int32Array,
    packetNumbers: Float64Array,
    from: number,
    to: number,
    headerBytes: number,
  ): void;
  /**
   * Like `seal`; the last `borrowedBytes[i]` of packet i's plaintext are read from `lenders[lenderOf[i]]`.
   * An addon of an earlier build does not have it.
   */
  readonly sealBorrowed?: (
    key: NativeHandle,
    bytes: Uint8Array,
    offsets: Int32Array,
    lengths: Int32Array,
    packetNumbers: Float64Array,
    from: number,
    to: number,
    headerBytes: number,
    borrowedBytes: Int32Array,
    lentFrom: Int32Array,
    lenderOf: Int32Array,
    lenders: readonly Uint8Array[],
  ) => void;
  open(
    key: NativeHandle,
    bytes: Uint8Array,
    offsets: Int32Array,
    lengths: Int32Array,
    packetNumbers: Float64Array,
    from: number,
    to: number,
    headerBytes: number,
    opened: Uint8Array,
  ): number;
  /**
   * Reads at `offset` what is in memory: the bytes read, at most 1 MiB, 0 at the end of the file, -1 when it would
   * have to wait, or failed. An addon of an earlier build does not have it.
   */
  readonly readNow?: (file: number, target: Uint8Array, offset: number) => number;
  /**
   * Writes at `offset` in a file system that lives in memory: the bytes written, at most 1 MiB, -1 on any other,
   * or when it failed. An addon of an earlier build does not have it.
   */
  readonly writeNow?: (file: number, bytes: Uint8Array, offset: number) => number;
  /**
   * Puts the pieces `bytes[starts[i] .. starts[i] + lengths[i])`, `from` <= i < `to`, one behind the other into
   * `target` from `at` on. An addon of an earlier build does not have it.
   */
  readonly copyPieces?: CopyPieces;
}

/** INTERFACE_VERSION of native/src/addon.c: another one means a package of another godwit. */
const INTERFACE_VERSION = 1;

let loaded: NativeBinding | undefined;
let isLoaded = false;

/** The addon, or `undefined` where there is none or `GODWIT_NATIVE=0` switches it off. */
export function nativeBinding(): NativeBinding | undefined {
  if (process.env["GODWIT_NATIVE"] === "0") return undefined;
  if (!isLoaded) {
    isLoaded = true;
    loaded = load();
  }
  return loaded;
}

function load(): NativeBinding | undefined {
  const require = createRequire(import.meta.url);
  const platform = `@godwit/native-${process.platform}-${process.arch}`;
  // The checkout is found upwards: this file may be part of a bundle.
  const ownBuild = join(packageDirectory(), "native/build/Release/godwit_native.node");
  // A package for the other libc does not load, and is not installed in the first place where npm knows the
  // machine's libc.
  const places = [ownBuild, platform, `${platform}-musl`];
  for (const place of places) {
    try {
      const binding = require(place) as NativeBinding;
      if (binding.interfaceVersion === INTERFACE_VERSION) return binding;
    } catch {
      // Not there, or not for this machine: the next place, and in the end node:dgram.
    }
  }
  return undefined;
}
