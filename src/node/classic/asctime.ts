/** The local time as C's asctime shows it, `Sat Nov 21 06:12:07 2026`: the text of the original pings. */

const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** `Sat Nov 21 06:12:07 2026`; the day of the month takes two places, with a space in front. C17 §7.27.3.1. */
export function asctime(date: Date): string {
  const two = (value: number, fill: string): string => String(value).padStart(2, fill);
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map((part) => two(part, "0"))
    .join(":");
  return `${DAYS[date.getDay()]} ${MONTHS[date.getMonth()]} ${two(date.getDate(), " ")} ${time} ${date.getFullYear()}`;
}
