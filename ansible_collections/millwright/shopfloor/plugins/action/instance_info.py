# -*- coding: utf-8 -*-
# Copyright: (c) 2026, The Millwright authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.millwright.shopfloor.plugins.plugin_utils.dispatch import Dispatch


class ActionModule(Dispatch):
    MODULE = "instance_info"
