/** Says in words what a mapping and a page of it are. */
import { hex } from '../shared/page.ts';
import { PAGE_KINDS, type ReportData, type ReportVma } from '../shared/report/report-data.ts';
import { protLetters } from '../shared/vm-flags.ts';
import { grouped } from './dom.ts';
import type { FoundPage } from './page-map.ts';

/** The name of a mapping: its file, or what it is. */
export function nameOf({ files }: ReportData, { n, k }: ReportVma): string {
  return n < 0 ? `[${k}]` : files[n]!;
}

/** The addresses of a mapping, as /proc/PID/maps writes them. */
export function rangeOf({ s, e }: ReportVma): string {
  return `${s.toString(16)}-${e.toString(16)}`;
}

/** Why a page is of its kind. */
export function reasonOf({ k }: ReportVma, { kind, where }: FoundPage): string {
  switch (PAGE_KINDS[kind]) {
    case 'copy':
      return `the image stores its bytes, from byte ${grouped(where)} on`;
    case 'zero':
      return 'all of its bytes are zero, so the image only notes that';
    case 'clone':
      return `mm ${where} has the same page, and the image stores it there`;
    case 'parent':
      return 'its parent image has the same page, and this one does not store it again';
    case 'guard':
      return 'a guard page: every access to it faults';
    default:
      if (k === 'file') return 'not stored: it is the page of the file, or was never touched';
      if (k === 'device') return 'not stored: it is memory of a device';
      return 'not stored: it was never touched, so it reads as zeros';
  }
}

/** One line about a page. */
export function lineOf(data: ReportData, vma: ReportVma, page: FoundPage): string {
  return `${hex(page.address)} · ${PAGE_KINDS[page.kind]} · ${protLetters(vma.f)} ${nameOf(data, vma)}`;
}
