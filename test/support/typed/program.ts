// A program under the strictest compiler settings: every option may be undefined, each type of a
// parameter or result has a name, and no internals are visible.
import {
  type AttachOptions,
  attach,
  type CallsTarget,
  type CompareOptions,
  createDumper,
  createMachine,
  createWorkload,
  type DeviceRequest,
  type DumpOptions,
  type DumpReport,
  type FileOptions,
  type FramesRequest,
  fileSink,
  type ImageExtent,
  type ImageLength,
  type ImageVma,
  type ImportOptions,
  importProcess,
  type MachineHandle,
  type MmReport,
  memorySink,
  type OpenOptions,
  openImage,
  type RestoreOptions,
  type SimulatedFile,
  type Sink,
  type SinkTarget,
  type SkippedPages,
  type SplitSinkOptions,
  streamSink,
  type UserDesc,
  type VerifyOptions,
  type WorkerReport,
} from 'mmdump';

const job: {
  readonly signal: AbortSignal | undefined;
  readonly timeoutMs: undefined;
  readonly onProgress: undefined;
} = {
  signal: undefined,
  timeoutMs: undefined,
  onProgress: undefined,
};
const compare: CompareOptions = job;
const restore: RestoreOptions = job;
const verify: VerifyOptions = { ...job, maxIndexBytes: undefined, maxProblems: undefined };
const open: OpenOptions = { signal: undefined, maxIndexBytes: undefined, cacheBytes: undefined };
const imports: ImportOptions = {
  ...job,
  children: undefined,
  freeze: undefined,
  timeoutMs: undefined,
};
const dump: DumpOptions = {
  ...job,
  to: memorySink({ chunkBytes: undefined, machine: undefined }),
  zeroPages: undefined,
  checksum: undefined,
  blocks: undefined,
  unsupported: undefined,
  hugetlb: undefined,
  freeze: undefined,
  dontDump: undefined,
  sizeLimit: undefined,
  unitBytes: undefined,
  source: undefined,
  timeoutMs: undefined,
};
const attached: AttachOptions = { thread: undefined, mayBlock: undefined };
const split: SplitSinkOptions = {
  force: undefined,
  sparse: undefined,
  sync: undefined,
  parts: 2,
  partBytes: undefined,
};
const file: FileOptions = {
  path: '/a',
  content: new DataView(new ArrayBuffer(8)),
  memoryBacked: undefined,
  deleted: undefined,
};
const device: DeviceRequest = {
  length: 1,
  prot: 'r',
  offset: undefined,
  io: undefined,
  address: undefined,
};
const frames: FramesRequest = {
  length: 1,
  prot: 'r',
  bank: undefined,
  offset: undefined,
  address: undefined,
  flags: undefined,
};
/** A sink of a program, from the types alone. */
class OwnSink implements Sink {
  readonly kind = 'stream';
  readonly path = null;
  readonly pieces: Uint8Array[] = [];
  async open(): Promise<void> {}
  async reserve({ bytes, isExact, workers }: ImageExtent): Promise<SinkTarget> {
    const target: CallsTarget = {
      kind: 'calls',
      concurrency: workers,
      pieceBytes: isExact ? bytes : undefined,
      write: async (piece, offset, signal) => {
        signal.throwIfAborted();
        this.pieces[offset] = piece;
        await new Blob([piece]).arrayBuffer(); // no shared memory, which a Blob does not take
      },
    };
    return target;
  }
  async commit({ bytes }: ImageLength): Promise<void> {
    this.pieces.length = bytes;
  }
  async abort(): Promise<void> {}
}
const desc: UserDesc = { entryNumber: 0, baseAddr: 0, limit: 0, contents: undefined };

export async function main(): Promise<readonly unknown[]> {
  const machine = createMachine({
    memory: 1,
    deviceMemory: undefined,
    swap: undefined,
    banks: [new SharedArrayBuffer(4096), { buffer: new SharedArrayBuffer(4096) }],
    store: undefined,
    maxAddressSpaces: undefined,
    checks: undefined,
  });
  await using dumper = await createDumper({ workers: undefined, expectedBytes: undefined });
  const made: SimulatedFile = machine.createFile(file);
  const handle: MachineHandle = attach(machine.handle, attached).handle;
  const space = machine.createAddressSpace();
  space.write(0, new Uint32Array(2));
  space.modifyLdt(desc);
  space.mapDevice(device);
  space.mapFrames(frames);
  const { space: other } = await createWorkload('dense', { size: undefined, signal: undefined });
  const report: DumpReport = await dumper.dump(space, dump);
  const parts: readonly [MmReport | undefined, SkippedPages | undefined, WorkerReport | undefined] =
    [report.mms[0], report.skipped[0], report.perWorker[0]];
  await dumper.compare(space, other, compare);
  const image = await openImage('a', open);
  const vmas: readonly ImageVma[] = image.vmas({ mm: undefined });
  await dumper.restore(image, machine, restore);
  await dumper.verify('a', verify);
  await importProcess(machine, 1, { ...imports, dumper: undefined, workers: undefined });
  const sinks = [
    fileSink('a', { force: undefined, sparse: undefined, sync: undefined }),
    streamSink(process.stdout, { end: undefined, name: undefined }),
    new OwnSink(),
  ];
  return [made, handle, parts, vmas, sinks, split];
}
