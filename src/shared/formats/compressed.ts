/**
 * Recognises a file that was compressed as a whole. systemd-coredump stores the cores of the kernel
 * in this way, as zstd frames or, in older versions, by lz4 or xz.
 */

/** The first bytes of compressed files, and the commands that unpack FILE into OUT. */
const KINDS: readonly {
  readonly name: string;
  readonly magic: readonly number[];
  readonly command: string;
}[] = [
  { name: 'zstd', magic: [0x28, 0xb5, 0x2f, 0xfd], command: 'zstd -d FILE -o OUT' },
  { name: 'lz4', magic: [0x04, 0x22, 0x4d, 0x18], command: 'lz4 -d FILE OUT' },
  { name: 'xz', magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], command: 'xz -dc FILE > OUT' },
  { name: 'gzip', magic: [0x1f, 0x8b, 0x08], command: 'gzip -dc FILE > OUT' },
  { name: 'bzip2', magic: [0x42, 0x5a, 0x68], command: 'bzip2 -dc FILE > OUT' },
];

/**
 * What is wrong with a file that begins with these bytes, and how to unpack it. Undefined if it is
 * not compressed in a way that is known here.
 */
export function compressionProblem(start: Uint8Array): string | undefined {
  const kind = KINDS.find(({ magic }) => magic.every((byte, at) => start[at] === byte));
  if (kind === undefined) return undefined;
  const { name, command } = kind;
  return (
    `it is compressed by ${name}, so its pages cannot be read in place: unpack it first, with ` +
    `'${command}', or 'coredumpctl dump -o OUT' for a core that systemd-coredump keeps`
  );
}
