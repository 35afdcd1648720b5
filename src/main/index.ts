/** mmdump: checkpoints simulated Linux address spaces with all cores at once. The public API. */
export { AddressSpace, type MmHandle, type VmaInfo } from '../mmu/address-space.ts';
export type { Advice } from '../mmu/calls/madvise.ts';
export type { MlockAllFlag, MlockFlag } from '../mmu/calls/mlock.ts';
export type { MapFlag, MmapRequest } from '../mmu/calls/mmap.ts';
export type { MremapFlag } from '../mmu/calls/mremap.ts';
export type { MsyncFlag } from '../mmu/calls/msync.ts';
export type { Prot } from '../mmu/calls/prot.ts';
export {
  type PageFlag,
  type PageStructInfo,
  type PteInfo,
  readPageStruct,
  readPte,
  writePageStruct,
  writePte,
} from '../mmu/debug.ts';
export { attach, createMachine, type Freeze, Machine } from '../mmu/machine.ts';
export type { AttachOptions, MachineOptions } from '../mmu/machine-parts.ts';
export { AbortError, type ErrorCode, type ErrorFields, MmdumpError } from '../shared/errors.ts';
export type { ArmedFaults, Fault, FaultAction, FaultPlan, FaultPoint } from '../shared/faults.ts';
export type { MachineHandle } from '../shared/machine-handle.ts';
export { GiB, KiB, MiB, PAGE_SIZE } from '../shared/page.ts';
export type { CompareOptions, CompareProgress, Comparison } from './compare.ts';
export type { DumpOptions, EstimateOptions } from './dump/options.ts';
export {
  compareAddressSpaces,
  createDumper,
  Dumper,
  type DumperOptions,
  importProcess,
  verifyImage,
  type WorkerChoice,
} from './dumper.ts';
export { Image, type MmChoice, type OpenOptions, openImage, type PageInfo } from './image/image.ts';
export type { ImageFile, ImageMm, ImageVma } from './image/image-mm.ts';
export { memoryUsage } from './image/image-usage.ts';
export type { Problem, ProblemCode } from './image/problem.ts';
export type { Verification, VerifyOptions, VerifyProgress } from './image/verify.ts';
export type {
  ImportOptions,
  ImportProgress,
  ImportResult,
  MachineFor,
  ProcessReport,
} from './import/import-report.ts';
export type { RestoreOptions, RestoreProgress, RestoreResult } from './load/restore.ts';
export type { FamilyUsage, MemoryUsage } from './memory-usage.ts';
export type { WorkerProgress } from './progress.ts';
export type { DumpEstimate, DumpProgress, DumpReport } from './report.ts';
export { type FileSinkOptions, fileSink } from './sinks/file-sink.ts';
export {
  type MemoryImage,
  MemorySink,
  type MemorySinkOptions,
  memorySink,
} from './sinks/memory-sink.ts';
export type { Sink } from './sinks/sink.ts';
export { type SplitSink, type SplitSinkOptions, splitSink } from './sinks/split-sink.ts';
export { StreamSink, type StreamSinkOptions, streamSink } from './sinks/stream-sink.ts';
export type { JobOptions } from './stop.ts';
export { WORKLOADS, type WorkloadName } from './workloads/names.ts';
export {
  createWorkload,
  type Workload,
  type WorkloadOptions,
} from './workloads/workload.ts';
