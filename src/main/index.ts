/** The public API of mmdump, which checkpoints simulated Linux address spaces on all cores. */

export type { Prot } from '../mmu/arguments/prot.ts';
export type { DeviceRequest } from '../mmu/calls/device.ts';
export type { DirtyRange } from '../mmu/calls/dirty.ts';
export type { FramesFlag, FramesRequest } from '../mmu/calls/frames.ts';
export type { UserDesc } from '../mmu/calls/ldt.ts';
export type { Advice, FlagAdvice, PageAdvice } from '../mmu/calls/madvise.ts';
export type { MlockAllFlag, MlockFlag } from '../mmu/calls/mlock.ts';
export type { MapFlag, MmapRequest } from '../mmu/calls/mmap.ts';
export type { MremapFlag } from '../mmu/calls/mremap.ts';
export type { MsyncFlag } from '../mmu/calls/msync.ts';
export { AddressSpace } from '../mmu/machine/address-space.ts';
export { attach, createMachine } from '../mmu/machine/attach.ts';
export {
  type PageFlag,
  type PageStructChanges,
  type PageStructInfo,
  type PteInfo,
  type PteWords,
  readPageStruct,
  readPte,
  writePageStruct,
  writePte,
} from '../mmu/machine/debug.ts';
export type { DirtyPages } from '../mmu/machine/dirty-pages.ts';
export type { FileOptions, MemoryBacked, SimulatedFile } from '../mmu/machine/file.ts';
export type { Freeze, FreezeOptions } from '../mmu/machine/freeze.ts';
export type { MmHandle } from '../mmu/machine/handles.ts';
export { Machine, type MemoryAmount } from '../mmu/machine/machine.ts';
export type { MachineEvents } from '../mmu/machine/machine-events.ts';
export type { MachineFiles } from '../mmu/machine/machine-files.ts';
export type { MemoryAccess } from '../mmu/machine/memory-access.ts';
export type {
  AddressRange,
  PrefetchOptions,
  PrefetchProgress,
  PrefetchResult,
} from '../mmu/machine/prefetch.ts';
export { Snapshot } from '../mmu/machine/snapshot.ts';
export type { SnapshotOptions, SnapshotState } from '../mmu/machine/snapshot-options.ts';
export type { SystemCalls } from '../mmu/machine/system-calls.ts';
export { createTlb, type Tlb } from '../mmu/machine/tlb.ts';
export type { TlbEntries } from '../mmu/machine/tlb-entries.ts';
export { createTlbWindow, type TlbWindow } from '../mmu/machine/tlb-window.ts';
export type { Access, Translation } from '../mmu/machine/translation.ts';
export type { MachineOptions } from '../mmu/mm/create-machine.ts';
export type { Fault, FaultCounters, FaultKind } from '../mmu/mm/fault-log.ts';
export type { AttachOptions } from '../mmu/mm/machine-parts.ts';
export type { MmAddresses, MmAddressName } from '../mmu/mm/mm-struct.ts';
export type { AdoptableMemory, AdoptedBank, MarkedMemory } from '../mmu/physical/adopted.ts';
export type { VmaInfo } from '../mmu/vma/vma-info.ts';
export type { DigestName } from '../shared/digest/digest-kind.ts';
export type { FileTarget, ImageChunk, MemoryTarget } from '../shared/dump/tasks/copy-target.ts';
export type { UnsupportedPolicy } from '../shared/dump/tasks/pass-task.ts';
export { AbortError, type ErrorCode, type ErrorFields, MmdumpError } from '../shared/errors.ts';
export type { ImageHead } from '../shared/formats/cpt/head.ts';
export type { Problem, ProblemCode } from '../shared/formats/problem.ts';
export type { MachineHandle } from '../shared/machine-handle.ts';
export { GiB, KiB, MiB, PAGE_SIZE } from '../shared/page.ts';
export type { StateChange } from './compare/changed-states.ts';
export type { CompareOptions, CompareProgress, Comparison } from './compare/compare.ts';
export type {
  ChangedPage,
  ClassChange,
  DiffOptions,
  DiffProgress,
  FieldChange,
  ImageDiff,
  MmDiff,
} from './compare/diff-report.ts';
export type { MappingChange, MappingSide } from './compare/mapping-pairs.ts';
export {
  type FlattenOptions,
  type FlattenProgress,
  type FlattenReport,
  flattenImage,
} from './convert/flatten.ts';
export type { DumperOptions } from './crew/dumper-options.ts';
export type { DumpOptions, EstimateOptions, ImageFormat } from './dump/options.ts';
export type {
  DumpEstimate,
  DumpPhase,
  DumpProgress,
  DumpReport,
  MmReport,
  PageCounts,
  VmaReport,
  WorkerReport,
} from './dump/report.ts';
export type { SkippedPages } from './dump/tally.ts';
export { createDumper, Dumper } from './dumper.ts';
export {
  explainImagePage,
  type ImageBlock,
  type ImagePageExplanation,
  type StoredPlace,
} from './explain/explain-image.ts';
export {
  type ExplainOptions,
  explainPage,
  type PageClassName,
  type PageExplanation,
} from './explain/explain-page.ts';
export {
  type SpaceFilter,
  type SpacePage,
  type SpaceRun,
  spacePages,
  spaceRuns,
} from './explain/space-walks.ts';
export type {
  BackedPlace,
  ShownFrame,
  ShownPage,
  ShownSlot,
  TableEntry,
} from './explain/walk-tables.ts';
export type { ImageAncestor } from './image/chain/image-ancestor.ts';
export {
  Image,
  type OpenOptions,
  openImage,
} from './image/image.ts';
export { memoryUsage } from './image/image-usage.ts';
export type { ImageFile, ImageMm, ImageVma, Payload, StoredPages } from './image/index/image-mm.ts';
export type { ImageState } from './image/index/image-state.ts';
export type { FamilyUsage, MemoryUsage } from './image/memory-usage.ts';
export type {
  ByteStreamOptions,
  CStringOptions,
  ImagePage,
  ImageWalks,
  PagesOptions,
} from './image/pages/image-walks.ts';
export type { MappingFilter, PageFilter } from './image/pages/page-filter.ts';
export type { MmChoice, PageInfo, PageKind, PageState } from './image/pages/page-info.ts';
export type { ImageRun } from './image/pages/page-runs.ts';
export type { Verification, VerifyOptions, VerifyProgress } from './image/verify/verify.ts';
export type { ImageJobs } from './image-jobs.ts';
export type { CoreImport, CoreOptions, CoreReport } from './import/core/core-report.ts';
export type {
  ImportOptions,
  ImportProgress,
  ImportResult,
  MachineFor,
  ProcessReport,
} from './import/import-report.ts';
export type { WorkerProgress } from './job/progress.ts';
export type { JobOptions } from './job/stop.ts';
export type { RestoreOptions, RestoreProgress, RestoreResult } from './load/restore.ts';
export { imageReport, type ReportOptions } from './report/html.ts';
export type {
  Match,
  SearchOptions,
  SearchProgress,
  SearchResult,
  SpaceSearchOptions,
} from './search/search.ts';
export {
  compareAddressSpaces,
  diff,
  diffImages,
  importCore,
  importProcess,
  searchImage,
  searchSpaces,
  verifyImage,
  type WorkerChoice,
} from './single-jobs.ts';
export { type FileSink, type FileSinkOptions, fileSink } from './sinks/file-sink.ts';
export {
  type MemoryImage,
  MemorySink,
  type MemorySinkOptions,
  memorySink,
} from './sinks/memory-sink.ts';
export type { PathSink, PathSinkOptions } from './sinks/path-sink.ts';
export type {
  BuiltInTarget,
  CallsTarget,
  ImageExtent,
  ImageLength,
  Sink,
  SinkTarget,
} from './sinks/sink.ts';
export { type SplitSink, type SplitSinkOptions, splitSink } from './sinks/split-sink.ts';
export { StreamSink, type StreamSinkOptions, streamSink } from './sinks/stream-sink.ts';
export { WORKLOADS, type WorkloadName } from './workloads/names.ts';
export {
  createWorkload,
  type Workload,
  type WorkloadOptions,
} from './workloads/workload.ts';
