/** Numbers, times and errors in words. */

import { StoreError } from "holdfast";

const NUMBER = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const TIME = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });
const AGO = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** Such as `3.5 KiB`. */
export function sizeInWords(bytes: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB"];
  const power = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10));
  return bytes === 1 ? "1 byte" : `${NUMBER.format(bytes / 1024 ** power)} ${units[power] ?? ""}`;
}

/** Such as `2 minutes ago`, and as a date once that is long past. */
export function timeInWords(time: Date): string {
  const seconds = Math.round((time.getTime() - Date.now()) / 1000);
  if (seconds > -45) {
    return "just now";
  }
  if (seconds > -45 * 60) {
    return AGO.format(Math.round(seconds / 60), "minute");
  }
  return seconds > -22 * 3600 ? AGO.format(Math.round(seconds / 3600), "hour") : TIME.format(time);
}

/** In full, for a tooltip. */
export function timeInFull(time: Date): string {
  return TIME.format(time);
}

/** What went wrong, and what can be done about it. */
export function errorInWords(error: unknown): string {
  if (!(error instanceof StoreError)) {
    return error instanceof Error ? error.message : String(error);
  }
  switch (error.code) {
    case "network":
      return "No node could be reached, so nothing was changed. Is the cluster running, and are you online?";
    case "unavailable":
      return "Too few of this file's nodes are up to change it safely, so nothing was changed. Try again once they are back.";
    case "outcome-unknown":
      return "No answer came in time. It may or may not have worked: look at the list in a moment.";
    case "timeout":
      return "No node answered in time.";
    case "disk-full":
      return "The nodes' disks are full. Nothing was changed.";
    case "overloaded":
      return "The nodes have too much to do right now. Nothing was changed: try again.";
    case "integrity":
    case "checksum-mismatch":
      return "The bytes were damaged on the way and were thrown away. Try again.";
    default:
      return error.message.charAt(0).toUpperCase() + error.message.slice(1);
  }
}
