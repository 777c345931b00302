"""The side channel's measurement: what is measured, not what comes of it, which `make sidechannel` tells."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.wire.shaping import UNIT
from sidechannel.classify import Verdict, standard_error
from sidechannel.features import NAMES, features
from sidechannel.model import TICK, TOPICS
from sidechannel.observe import RECORD, Sample
from sidechannel.picture import picture


class MeasureTests(SynchronousTestCase):
    """What goes into the classifier, and what is made of its answer."""

    def test_features(self) -> None:
        """Sizes, gaps, counts and durations of the pieces of a reply."""
        found = dict(zip(NAMES, features([(0.5, 532), (0.6, 532), (0.8, 1064)]), strict=True))
        self.assertEqual((found["pieces"], found["bytes"], found["first"]), (3, 2128, 0.5))
        self.assertAlmostEqual(found["duration"], 0.3)
        self.assertAlmostEqual(found["gap least"], 0.1)
        self.assertAlmostEqual(found["gap most"], 0.2)
        self.assertEqual((found["size least"], found["size most"]), (532, 1064))
        self.assertEqual(len(features([(0.1, 532)])), len(NAMES))

    def test_topics(self) -> None:
        """They differ, the same reply can be drawn again, and all of them end well within the shortest train."""
        letters = {}
        for name, topic in TOPICS.items():
            replies = [topic.reply(number) for number in range(1000)]
            self.assertEqual(replies[7], topic.reply(7))
            self.assertLess(max(sum(pause for pause, _word in reply) for reply in replies), 0.9 * UNIT * TICK)
            letters[name] = sum(len(word) for reply in replies for _pause, word in reply) / 1000
        least, most = sorted(letters.values())
        self.assertGreater(most, 1.1 * least)

    def test_records(self) -> None:
        """A sample's records are counted from its bytes."""
        self.assertEqual(Sample("weather", 0, [(0.1, RECORD), (0.2, 2 * RECORD)]).records, 3)

    def test_standardError(self) -> None:
        """At one half it is that of the Mann-Whitney statistic; it grows as there are fewer."""
        self.assertAlmostEqual(standard_error(0.5, 100, 100), (201 / (12 * 100 * 100)) ** 0.5)
        self.assertGreater(standard_error(0.5, 10, 10), standard_error(0.5, 100, 100))

    def test_chance(self) -> None:
        """Chance is both near one half and within what permuted labels give."""
        for auc, is_chance in ((0.5, True), (0.52, True), (0.54, False), (0.7, False), (0.3, False)):
            self.assertIs(Verdict(auc, 0.02, (0.47, 0.53), []).is_chance, is_chance)

    def test_picture(self) -> None:
        """A curve from corner to corner, with its name."""
        self.assertIn("M50.0 370.0L370.0 50.0", picture({"a & b": [(0.0, 0.0), (1.0, 1.0)]}))
        self.assertIn("a &amp; b", picture({"a & b": [(0.0, 0.0)]}))
