package schedule_test

import (
	"testing"
	"time"

	"crony/internal/schedule"
)

func TestDescribe(t *testing.T) {
	for _, test := range []struct{ text, en, zh string }{
		{"* * * * *", "every minute",
			"每分钟"},
		{"*/5 * * * *", "every 5 minutes",
			"每 5 分钟"},
		{"*/7 * * * *", "at every 7th minute from 0 through 56 of every hour",
			"每小时，第 0 至 56 分（间隔 7）"},
		{"*/5 * * * * *", "every 5 seconds",
			"每 5 秒"},
		{"* * * * * *", "every second",
			"每秒"},
		{"30 2 * * *", "at 02:30 every day",
			"每天 02:30"},
		{"30 2,14 * * *", "at 02:30 and 14:30 every day",
			"每天 02:30、14:30"},
		{"0 0 * * 1-5", "at 00:00, on Monday through Friday",
			"周一至周五，00:00"},
		{"*/15 9-17 * * 1-5", "every 15 minutes, from 09:00 through 17:59, on Monday through Friday",
			"周一至周五，09:00 至 17:59，每 15 分钟"},
		{"0 */2 * * *", "at minute 0 of every 2nd hour",
			"每 2 小时，第 0 分"},
		{"30 */5 * * *", "at minute 30 of every 5th hour from 00 through 20",
			"0 至 20 时（间隔 5），第 30 分"},
		{"5,35 * * * *", "at minute 5 and 35 of every hour",
			"每小时，第 5、35 分"},
		{"10-20 3 * * *", "at minute 10 through 20, from 03:00 through 03:59",
			"03:00 至 03:59，第 10 至 20 分"},
		{"* 2 * * *", "every minute, from 02:00 through 02:59",
			"02:00 至 02:59，每分钟"},
		{"0 0 1,15 * 1", "at 00:00, on day 1 and 15 of the month, or on Monday",
			"每月 1、15 日，或周一，00:00"},
		{"0 0 */2 * 1", "at 00:00, on every 2nd day from 1 through 31 of the month, if that is Monday",
			"每月 1 至 31 日（间隔 2）且为周一，00:00"},
		{"0 12 LW * ?", "at 12:00, on the last weekday of the month",
			"每月最后一个工作日，12:00"},
		{"0 0 12 LW * ? 2027-2030", "at 12:00, on the last weekday of the month, in 2027 through 2030",
			"2027 至 2030 年，每月最后一个工作日，12:00"},
		{"5 4 * * 7#1", "at 04:05, on the first Sunday of the month",
			"每月第 1 个周日，04:05"},
		{"0 0 L-3,15W * *", "at 00:00, on the 4th to last day of the month and the weekday nearest to day 15 of the month",
			"每月倒数第 4 天、每月最接近 15 日的工作日，00:00"},
		{"0 0 * * 5L,mon#2", "at 00:00, on the second Monday of the month and the last Friday of the month",
			"每月第 2 个周一、每月最后一个周五，00:00"},
		{"0 0 29 2 *", "at 00:00, on day 29 of the month, in February",
			"每年 2 月的 29 日，00:00"},
		{"0 0 1 1,7 *", "at 00:00, on day 1 of the month, in January and July",
			"每年 1、7 月的 1 日，00:00"},
		{"0 9 * * fri-sun", "at 09:00, on Friday through Sunday",
			"周五至周日，09:00"},
		{"15 10 5 * * *", "at 05:10:15 every day",
			"每天 05:10:15"},
		{"*/10 * 2 * * *", "every 10 seconds, from 02:00 through 02:59",
			"02:00 至 02:59，每 10 秒"},
		{"0 0 1 */3 *", "at 00:00, on day 1 of the month, in January, April, July and October",
			"每年 1、4、7、10 月的 1 日，00:00"},
		{"5/10 0,6,7 * * *", "at every 10th minute from 5 through 55 of the hours 00, 06 and 07",
			"0、6、7 时，第 5 至 55 分（间隔 10）"},
		{"0 0 1 1 * ? 2028", "at 01:00, on day 1 of the month, in 2028",
			"2028 年，每月 1 日，01:00"},
		{"0 0 0 L-1 2 ? 2028/4", "at 00:00, on the 2nd to last day of the month, in February, in every 4th year from 2028 through 2096",
			"2028 至 2096 年（间隔 4），2 月的倒数第 2 天，00:00"},
		{"0 0 L-2W * *", "at 00:00, on the weekday nearest to the 3rd to last day of the month",
			"每月最接近倒数第 3 天的工作日，00:00"},
		{"H H * * *", "at 22:57 every day",
			"每天 22:57"},
		{"@hourly", "at minute 0 of every hour",
			"每小时，第 0 分"},
		{"@weekly", "at 00:00, on Sunday",
			"周日，00:00"},
		{"@every 90s", "every 1 minute and 30 seconds",
			"每 1 分钟 30 秒"},
		{"@every 24h", "every 24 hours",
			"每 24 小时"},
		{"@every 36h", "every 36 hours",
			"每 36 小时"},
		{"@at 2027-01-01T00:00", "once, at 2027-01-01 00:00:00 UTC",
			"仅一次：2027-01-01 00:00:00 UTC"},
		{"@at 2027-01-01T00:00,2028-01-01T00:00", "2 times, from 2027-01-01 00:00:00 UTC to 2028-01-01 00:00:00 UTC",
			"共 2 次：2027-01-01 00:00:00 UTC 至 2028-01-01 00:00:00 UTC"},
		{"@reboot", "when the agent starts",
			"代理启动时"},
		{"1-50/7 * * * *", "at every 7th minute from 1 through 50 of every hour",
			"每小时，第 1 至 50 分（间隔 7）"},
		{"0 1,5,9 * * *", "at 01:00, 05:00 and 09:00 every day",
			"每天 01:00、05:00、09:00"},
		{"0 1,2,3,4,5 * * *", "at minute 0, from 01:00 through 05:59",
			"01:00 至 05:59，第 0 分"},
		{"0 0 */2 * */2", "at 00:00, on every 2nd day from 1 through 31 of the month, if that is Tuesday, Thursday, Saturday or Sunday",
			"每月 1 至 31 日（间隔 2）且为周二、周四、周六、周日，00:00"},
		{"* */2 * * *", "every minute of every 2nd hour",
			"每 2 小时，每分钟"},
		{"10 * 4 * * *", "at second 10, every minute, from 04:00 through 04:59",
			"04:00 至 04:59，每分钟，第 10 秒"},
		{"0 0 1-7 * *", "at 00:00, on day 1 through 7 of the month",
			"每月 1 至 7 日，00:00"},
	} {
		s := parse(t, test.text, schedule.Options{Hash: "a"})
		if got := s.Describe("en"); got != test.en {
			t.Errorf("%s in English: %s\nwant %s", test.text, got, test.en)
		}
		for _, lang := range []string{"zh", "zh-CN"} {
			if got := s.Describe(lang); got != test.zh {
				t.Errorf("%s in Chinese: %s\nwant %s", test.text, got, test.zh)
			}
		}
	}
}

func TestUpcomingSaysWhatShiftsDo(t *testing.T) {
	berlin := location(t, "Europe/Berlin") // forward on 29 March 2026 at 02:00, back on 25 October at 03:00
	spring, autumn := "2026-03-28T12:00:00Z", "2026-10-24T12:00:00Z"
	for _, test := range []struct {
		text, after string
		at          []string
		note, zh    string // of the last of them
	}{
		{"30 2 * * *", spring, []string{"2026-03-29T01:00:00Z"}, "moved from 02:30, which does not exist that day", "由 02:30 推迟而来：当天没有这一时刻"},
		{"10,20 2,3 * * *", spring, []string{"2026-03-29T01:00:00Z"}, "moved from 02:10, which does not exist that day", "由 02:10 推迟而来：当天没有这一时刻"},
		{"30 2 * * *", autumn, []string{"2026-10-25T00:30:00Z"}, "the second 02:30 is left out", "当天 02:30 出现两次，第二次不执行"},
		{"*/30 2 * * *", autumn, []string{"2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z"},
			"02:00 comes a second time, and is due each time", "02:00 第二次出现，两次都执行"},
		{"*/30 2 * * *", spring, []string{"2026-03-30T00:00:00Z"}, "before it, 02:00 did not exist and was left out", "此前的 02:00 当天不存在，未执行"},
		{"*/30 2 * * *", "2026-10-24T00:00:00Z", []string{"2026-10-24T00:30:00Z", "2026-10-25T00:00:00Z"}, "", ""},
		{"*/30 * * * *", "2026-03-29T00:45:00Z", []string{"2026-03-29T01:00:00Z"}, "", ""},
		{"*/30 * * * *", "2026-10-25T00:45:00Z", []string{"2026-10-25T01:00:00Z"}, "", ""},
		{"0 3 * * *", spring, []string{"2026-03-29T01:00:00Z"}, "", ""},
		{"30 4 * * *", autumn, []string{"2026-10-25T03:30:00Z"}, "", ""},
		{"@every 1h", spring, []string{"2026-03-28T13:00:00Z"}, "", ""},
		{"15 30 2 * * *", autumn, []string{"2026-10-25T00:30:15Z"}, "the second 02:30:15 is left out", "当天 02:30:15 出现两次，第二次不执行"},
	} {
		s := parse(t, test.text, schedule.Options{Location: berlin})
		fires := s.Upcoming(instant(t, test.after), len(test.at))
		if len(fires) != len(test.at) {
			t.Errorf("%s after %s: %d fires", test.text, test.after, len(fires))
			continue
		}
		for i, fire := range fires {
			if got := fire.At.Format(time.RFC3339); got != test.at[i] {
				t.Errorf("%s after %s: %s at %d, want %s", test.text, test.after, got, i, test.at[i])
			}
		}
		last := fires[len(fires)-1]
		if got := last.Note("en"); got != test.note {
			t.Errorf("%s after %s: note %q, want %q", test.text, test.after, got, test.note)
		}
		if got := last.Note("zh-CN"); got != test.zh {
			t.Errorf("%s after %s: note %q, want %q", test.text, test.after, got, test.zh)
		}
	}
}
