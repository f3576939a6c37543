/**
 * The bytes of the hashed transfer: `u32 size, big-endian | file | SHA-512 of the file`, from server
 * to client, then the connection closes. Source: docs/classic/hashed.md.
 */

/** TCP port of the original, and UDP port of its pings. */
export const HASHED_PORT = 15_010;

/** Bytes of the size in front of the file. */
export const HASHED_SIZE_BYTES = 4;

/** Bytes of the SHA-512 digest behind the file. FIPS 180-4. */
export const HASHED_DIGEST_BYTES = 64;

/** Largest file the four size bytes can announce: 4 GiB - 1. */
export const HASHED_MAX_FILE_BYTES = 0xffff_ffff;
